"""The tables, the hash chain over the history, and how SQLite is opened."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from maxmemd.errors import LedgerBusy, LedgerCorrupt, LedgerError, LedgerFull
from maxmemd.files import why_unusable
from maxmemd.ledger.space import has_no_room

METADATA = sa.MetaData()

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
)
"""`head`: the seq of the entry that a record follows from, NULL if it is forgotten. `newest`: the
seq of the domain's newest entry of any kind. `observed`: what was only observed of the record, if
its entry is older than revision 0007 and does not say so itself; sealed. `name`: the last name that
its instances had, sealed, NULL if none was ever seen."""

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
)
"""`after_seq`: the seq of the newest entry when it was pushed, NULL where it is not known."""

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
    mode = "ro" if read_only else "rwc"

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
