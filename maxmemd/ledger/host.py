"""Mark a ledger with the kind of its host, and refuse the other kind.

The mark is SQLite's application id, in the file's header: every copy has it, `file` shows it, and
it is there before any table is. A ledger of a maxmemd that did not mark is known by the boots in
it: Xen's host has the kernel's boot ids, which are UUIDs. One without any instance is either's.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from maxmemd.errors import ConfigError
from maxmemd.ledger.schema import as_ledger_errors

MARKS = {False: int.from_bytes(b"MXMX"), True: int.from_bytes(b"MXMS")}
"""The application id, by whether the host is simulated."""
_KINDS = {False: "a Xen host", True: "a simulated host"}
_UUID = "-".join("_" * length for length in (8, 4, 4, 4, 12))


def check_host(database: Path, *, simulated: bool) -> None:
    """Raise ConfigError if the ledger belongs to the other kind of host, LedgerError as usual."""
    found = _host_of(database)
    if found is None or found is simulated:
        return
    raise ConfigError(
        f"cannot use {database}: it is the ledger of {_KINDS[found]}, and this is"
        f" {_KINDS[simulated]}: give this host a ledger of its own with --database FILE, or"
        " database in the configuration"
    )


def mark_host(database: Path, *, simulated: bool) -> None:
    """Mark a ledger that is not marked yet. Raises LedgerError."""
    with (
        as_ledger_errors(database, f"mark {database}"),
        closing(sqlite3.connect(database)) as connection,
    ):
        if _mark(connection) not in MARKS.values():
            connection.execute(f"PRAGMA application_id = {MARKS[simulated]}")


def _host_of(database: Path) -> bool | None:
    """Return whether the ledger's host is simulated, None where nothing tells."""
    if not database.exists() or database.stat().st_size == 0:
        return None
    uri = f"{database.absolute().as_uri()}?mode=ro"
    with (
        as_ledger_errors(database, f"open the ledger {database}"),
        closing(sqlite3.connect(uri, uri=True)) as connection,
    ):
        mark = _mark(connection)
        marked = [simulated for simulated, number in MARKS.items() if number == mark]
        return marked[0] if marked else _host_by_boots(connection)


def _mark(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA application_id").fetchone()[0])


def _host_by_boots(connection: sqlite3.Connection) -> bool | None:
    """Real guests count: a ledger that a simulated host was let write to is still Xen's."""
    tables = "SELECT 1 FROM sqlite_master WHERE name = 'instance'"
    if connection.execute(tables).fetchone() is None:
        return None
    like = "SELECT 1 FROM instance WHERE boot LIKE ? LIMIT 1"
    for pattern, simulated in ((_UUID, False), ("simulated-%", True)):
        if connection.execute(like, (pattern,)).fetchone() is not None:
            return simulated
    return None
