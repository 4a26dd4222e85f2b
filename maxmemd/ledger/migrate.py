"""Migrate a database to the current tables with Alembic, after a backup."""

import os
import sqlite3
from pathlib import Path

from maxmemd.errors import LedgerCorrupt, LedgerTooNew
from maxmemd.files import open_private, sync
from maxmemd.ledger.backup import backup, holds_all_of
from maxmemd.ledger.high_water import remembered_seq
from maxmemd.ledger.schema import as_ledger_errors, engine
from maxmemd.ledger.space import as_ledger_error

HEAD = "0009"
"""The newest revision in migrations/versions; a test compares."""
FORMER_HIGH_WATER = "-tail"
"""The suffix of HighWaterMark's file up to revision 0003; 0004 checks it, then it is removed."""


def scripts() -> Path:
    """Return the directory of migrations: beside the package in a checkout, inside a wheel."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def revision_of(path: Path) -> str | None:
    """Return the database's revision; None if there is no database or it has no tables.

    Raises LedgerError if it cannot be read, LedgerCorrupt if it is not ours.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    with as_ledger_errors(path, f"open the ledger {path}"):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            if "alembic_version" not in names:
                if names:
                    raise LedgerCorrupt(f"cannot use {path}: it is another program's database")
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        finally:
            connection.close()
    return None if row is None else str(row[0])


def migrate(path: Path) -> str:
    """Bring the database to HEAD and return what was done, as a sentence.

    A database is copied to a file beside it before it is changed. Raises LedgerTooNew if a later
    maxmemd wrote it, LedgerError if it cannot be read or written.
    """
    found = revision_of(path)
    former = path.with_name(f"{path.name}{FORMER_HIGH_WATER}")
    if found == HEAD:
        former.unlink(missing_ok=True)  # a crash may have come between the commit and this
        return f"{path} is at revision {HEAD} already"
    if found is not None and found > HEAD:
        raise LedgerTooNew(
            f"cannot use {path}: it is at revision {found}, this maxmemd knows up to {HEAD}"
            " (install the later maxmemd again, or restore the backup it took)"
        )
    if found is None:
        _check_never_written(path)
    _make_private(path)
    saved = "" if found is None else f"; the database as it was is in {_keep_copy(path, found)}"
    _upgrade(path)
    # Only now: until the new tables are committed, it is needed to check the former ones.
    former.unlink(missing_ok=True)
    return f"{path} is at revision {HEAD} now{saved}"


def _check_never_written(path: Path) -> None:
    """Raise LedgerCorrupt if entries were written to what is no database, or none any more.

    A migration makes the high-water mark anew: nothing would remember them then.
    """
    seq = remembered_seq(path)
    if seq:
        raise LedgerCorrupt(
            f"cannot trust the ledger: {path} is missing or empty, but entry {seq} was written to"
            " it (see docs/recovery.md)"
        )


def _make_private(path: Path) -> None:
    """Create a file that only its owner can read, if there is none.

    SQLite gives the files beside a database its mode. Raises LedgerError.
    """
    try:
        os.close(open_private(path, os.O_RDWR))
    except OSError as error:
        raise as_ledger_error(error, f"create {path}", path) from error


def _keep_copy(path: Path, found: str) -> Path:
    """Return a copy of the database as it is now.

    A migration that failed leaves its copy behind. The next attempt, at each restart of the
    service, keeps that one if nothing was written since.
    """
    copy = path.with_name(f"{path.name}.before-{HEAD}-at-{found}")
    if holds_all_of(copy, path):
        return copy
    new = copy.with_name(f"{copy.name}.new")
    try:
        new.unlink(missing_ok=True)  # of a copy that a crash cut short
        backup(path, new)
        new.replace(copy)
        sync(copy.parent)
    except OSError as error:
        raise as_ledger_error(error, f"back {path} up to {copy}") from error
    return copy


def _upgrade(path: Path) -> None:
    """Run Alembic in one transaction. It is imported only if there is something to do."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(scripts()))
    try:
        with as_ledger_errors(path, f"migrate {path}"), engine(path).begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise LedgerCorrupt(f"cannot migrate {path}: {error}") from error
