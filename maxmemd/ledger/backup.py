"""Copy a ledger, while it is used, to a file that only its owner can read."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from maxmemd.errors import LedgerError
from maxmemd.files import open_private, sync
from maxmemd.ledger.schema import as_ledger_errors
from maxmemd.ledger.space import as_ledger_error

CHANGING = frozenset(
    {"alembic_version", "record", "instance", "drift_mode", "former", "last_push", "kept"}
)
"""Tables whose rows change. The others only grow: their last row tells how far they have."""


def backup(database: Path, copy: Path) -> None:
    """Copy the ledger to a new file, mode 0600, durably. A copy that fails is removed.

    Raises LedgerError, also if there is a file of that name already.
    """
    what = f"back {database} up to {copy}"
    try:
        database.stat()
        os.close(open_private(copy, os.O_RDWR | os.O_EXCL))
    except FileExistsError:
        raise LedgerError(f"cannot {what}: there is such a file (name a new one)") from None
    except OSError as error:
        raise as_ledger_error(error, what) from error
    try:
        with (
            as_ledger_errors(copy, what),
            closing(_open(database)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        # SQLite syncs the copy's pages, but not the removal of its journal, which would undo the
        # copy if it came back after a power cut
        for kept in (copy, copy.parent):
            sync(kept)
    except OSError as error:
        copy.unlink(missing_ok=True)
        raise as_ledger_error(error, what) from error
    except LedgerError:
        copy.unlink(missing_ok=True)
        raise


def holds_all_of(copy: Path, database: Path) -> bool:
    """Whether a copy is whole and has everything that the ledger has now."""
    if not copy.exists():
        return False
    try:
        # immutable: no other process writes to a copy, and nothing is made beside it
        with closing(_open(copy, "&immutable=1")) as kept, closing(_open(database)) as now:
            return _contents(kept) == _contents(now)
    except sqlite3.Error:
        return False


def _open(path: Path, options: str = "") -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{options}", uri=True)


def _contents(connection: sqlite3.Connection) -> dict[str, object]:
    """Return the rows of each table, and of a table that only grows the last one."""
    named = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    found: dict[str, object] = {}
    for (name,) in named:
        last = "" if name in CHANGING else "ORDER BY rowid DESC LIMIT 1"
        found[name] = connection.execute(f'SELECT * FROM "{name}" {last}').fetchall()  # noqa: S608
    return found
