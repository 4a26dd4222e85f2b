"""The tables, the hash chain over the history, and how SQLite is opened."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, ResourceClosedError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from maxmemd.errors import LedgerBusy, LedgerCorrupt, LedgerError, LedgerFull
from maxmemd.files import why_unusable
from maxmemd.ledger.space import has_no_room
from maxmemd.policy.kinds import EntryKind

METADATA = sa.MetaData()

MILESTONE = sa.text("hash < x'04'")
"""What one entry in 64 fulfils, by chance. The indices by domain have only these: a page of an
index for each decision would be most of the cost of a commit."""

PUSH_MILESTONE = sa.text("number % 64 = 0")
"""The same of pushes, by count."""

BEGINNING = sa.text("revision = 1 AND state IS NOT NULL")
"""What the first entry of each life of a record fulfils."""

END = sa.text(f"kind = '{EntryKind.INSTANCE_ENDED}'")
"""What the entry of the end of an instance fulfils."""

HISTORY = sa.Table(
    "history",
    METADATA,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
    sa.Column("uuid", sa.Text, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("wish", sa.Text, nullable=False),
    sa.Column("state", sa.Text),
    sa.Column("key", sa.Text),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Column("prior", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("history_by_key", "key", unique=True, sqlite_where=sa.text("key IS NOT NULL")),
    sa.Index("history_milestones", "uuid", sqlite_where=MILESTONE),
    sa.Index("history_milestone_revisions", "uuid", "revision", sqlite_where=MILESTONE),
    sa.Index("history_beginnings", "uuid", sqlite_where=BEGINNING),
    sa.Index("history_ends", "uuid", sqlite_where=END),
)
"""Append-only, one row per entry. `hash` covers the columns to its left and the previous entry's
hash; `prior` is the seq of the domain's previous entry, 0 for its first. It is not hashed, because
it follows from the rest."""

MOST_ROWS = 64
"""Rows per statement at most; one statement is prepared for each number of rows."""

HASHED = 9
"""The number of columns that an entry's hash covers."""

RECORD = sa.Table(
    "record",
    METADATA,
    sa.Column("uuid", sa.Text, primary_key=True),
    sa.Column("head", sa.BigInteger, sa.ForeignKey("history.seq")),
    sa.Column("newest", sa.BigInteger, nullable=False),
    sa.Column("observed", sa.Text),
    sa.Column("name", sa.Text),
    sa.Column("incarnation", sa.Integer, nullable=False, server_default="0"),
)
"""The records that stand, and no others: they are read at the start. `head`: the seq of the entry
that a record follows from. `newest`: the seq of the domain's newest entry of any kind. `observed`:
what was only observed of the record, if its entry is older than revision 0007 and does not say so
itself; sealed. `name`: the last name that its instances had, sealed, NULL if none was ever seen.
`incarnation`: its last instance's, 0 if it had none here."""

FORMER = sa.Table(
    "former",
    METADATA,
    sa.Column("uuid", sa.Text, primary_key=True),
    sa.Column("newest", sa.BigInteger, nullable=False),
    sa.Column("incarnation", sa.Integer, nullable=False),
)
"""The UUIDs of which there is history and no record: those that were forgotten, and those that had
none. Nothing reads all of it: a UUID that comes back is looked up."""

INSTANCE = sa.Table(
    "instance",
    METADATA,
    sa.Column("uuid", sa.Text, primary_key=True),
    sa.Column("incarnation", sa.Integer, primary_key=True),
    sa.Column("domid", sa.Integer, nullable=False),
    sa.Column("boot", sa.Text, nullable=False),
    sa.Column("began_ns", sa.BigInteger, nullable=False),
    sa.Column("ended_ns", sa.BigInteger),
    sa.Column("push_state", sa.Text, nullable=False),
    sa.Column("settled_revision", sa.BigInteger, nullable=False),
    sa.Column("effects", sa.Text),
    sa.Column("build", sa.Text),
    sa.Column("drift_pages", sa.BigInteger),
    sa.Column("fight_ns", sa.BigInteger),
)
"""The instances that have not ended; that one ended is an entry of the history."""

DRIFT_MODE = sa.Table(
    "drift_mode",
    METADATA,
    sa.Column("uuid", sa.Text, primary_key=True),
    sa.Column("mode", sa.Text, nullable=False),
)
"""The mode of drift that a client set for a domain (policy/drift.py:SetMode), with a checksum."""

PUSH = sa.Table(
    "push",
    METADATA,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
    sa.Column("uuid", sa.Text, nullable=False),
    sa.Column("domid", sa.Integer, nullable=False),
    sa.Column("incarnation", sa.Integer, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("max_pages", sa.BigInteger, nullable=False),
    sa.Column("seen_pages", sa.BigInteger),
    sa.Column("errno", sa.Integer),
    sa.Column("after_seq", sa.BigInteger),
    sa.Column("prior", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("number", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("push_milestones", "uuid", sqlite_where=PUSH_MILESTONE),
)
"""`after_seq`: the seq of the newest entry when it was pushed, NULL where it is not known. `prior`:
the domain's previous push, 0 for its first; `number` counts its pushes from 1."""

LAST_PUSH = sa.Table(
    "last_push",
    METADATA,
    sa.Column("uuid", sa.Text, primary_key=True),
    sa.Column("id", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
)
"""Each domain's newest push, and its number. Nothing reads all of it."""

PRUNED = sa.Table(
    "pruned",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Column("about", sa.Text, nullable=False),
)
"""One row once something was pruned: the anchor of the chain (anchor.py). `about` is sealed."""

KEPT = sa.Table(
    "kept",
    METADATA,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("uuid", sa.Text, nullable=False),
    sa.Column("slot", sa.BigInteger, nullable=False),
    sa.Column("before", sa.LargeBinary, nullable=False),
    sa.Index("kept_by_slot", "uuid", "slot", unique=True),
)
"""The entries up to the anchor that are kept, each with what it is needed for (policy/retention.py)
and the hash of the entry before it."""

GENESIS = bytes(32)
"""The hash before the first entry."""


def chain_hash(before: bytes, entry: tuple[Any, ...]) -> bytes:
    """Return an entry's hash: SHA-256 over the previous hash and its fields, in table order."""
    text = "\x1f".join(["" if field is None else str(field) for field in entry])
    return hashlib.sha256(before + text.encode()).digest()


def engine(path: Path, *, read_only: bool = False, busy_ms: int = 1000) -> sa.Engine:
    """Return an engine for the database at `path`, with transactional DDL.

    WAL, synchronous=FULL, foreign keys on; `busy_ms` is how long to wait for a locked database.
    """
    mode = "ro" if read_only else "rw"  # a database that is gone must not be made by its name

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=busy_ms / 1000,
            cached_statements=4 * MOST_ROWS,
        )

    built = sa.create_engine("sqlite://", creator=connect, poolclass=NullPool)

    @sa.event.listens_for(built, "connect")
    def _pragmas(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        wanted = ["foreign_keys=ON", "synchronous=FULL"]
        wanted += ["query_only=ON"] if read_only else ["journal_mode=WAL"]
        for pragma in wanted:
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(built, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return built


_BY_RESULT: dict[str, type[LedgerError]] = {
    "SQLITE_BUSY": LedgerBusy,
    "SQLITE_LOCKED": LedgerBusy,
    "SQLITE_FULL": LedgerFull,
    "SQLITE_CORRUPT": LedgerCorrupt,
    "SQLITE_NOTADB": LedgerCorrupt,
}


_MAY_BE_FULL = frozenset({"SQLITE_IOERR", "SQLITE_CANTOPEN"})
"""SQLite reports SQLITE_FULL only if one of its writes fails. If the WAL index cannot grow, a
journal cannot be created or a sync fails because the disk is full, it reports one of these, without
the kernel's errno."""


_REFUSED = frozenset({"SQLITE_CANTOPEN", "SQLITE_READONLY"})
"""What SQLite makes of a file that this user may not open or write."""


@contextmanager
def as_ledger_errors(database: Path, what: str) -> Iterator[None]:
    """Turn SQLite's errors into LedgerError, by result code and free space."""
    try:
        yield
    except ResourceClosedError as error:  # it could not be opened again
        raise LedgerError(f"cannot {what}: its connection is closed") from error
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        result = str(getattr(cause, "sqlite_errorname", "SQLITE_ERROR"))
        primary = "_".join(result.split("_")[:2])
        kind = _BY_RESULT.get(primary, LedgerError)
        if primary in _MAY_BE_FULL and has_no_room(database.parent):
            kind = LedgerFull
        full = f"no space is left in {database.parent}: " if kind is LedgerFull else ""
        files = (Path(f"{database}{suffix}") for suffix in ("", "-wal", "-shm"))
        hints = [why_unusable(one) for one in files] if primary in _REFUSED else []
        hint = next(filter(None, hints), "")
        raise kind(f"cannot {what}: {full}{cause} ({result}){hint}") from error
