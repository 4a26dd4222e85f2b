"""Bring a database to the tables that this program uses, by Alembic, with a backup first."""

import os
import sqlite3
from pathlib import Path

from maxmemd.errors import LedgerCorrupt, LedgerError, LedgerTooNew
from maxmemd.ledger.schema import as_ledger_errors, engine

HEAD = "0004"
"""The newest revision in migrations/versions; a test compares."""


def scripts() -> Path:
    """Return the directory of migrations: beside the package in a checkout, inside a wheel."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def revision_of(path: Path) -> str | None:
    """Return the database's revision; None where there is no database or no table in it.

    Raises LedgerError when it cannot be read, LedgerCorrupt when it is not ours.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    with as_ledger_errors(f"open the ledger {path}"):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            if "alembic_version" not in names:
                if names:
                    raise LedgerCorrupt(f"cannot use {path}: it is some other program's database")
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        finally:
            connection.close()
    return None if row is None else str(row[0])


def migrate(path: Path) -> str:
    """Bring the database to HEAD and return what was done, as a sentence.

    A copy of a database that is about to be changed is kept beside it. Raises LedgerTooNew when
    a later maxmemd wrote it, LedgerError when it cannot be read or written.
    """
    found = revision_of(path)
    if found == HEAD:
        return f"{path} is at revision {HEAD} already"
    if found is not None and found > HEAD:
        raise LedgerTooNew(
            f"cannot use {path}: it is at revision {found}, this maxmemd knows up to {HEAD}"
            " (install the later maxmemd again, or restore the backup it took)"
        )
    _make_private(path)
    saved = "" if found is None else f"; the database as it was is in {_backup(path, found)}"
    _upgrade(path)
    return f"{path} is at revision {HEAD} now{saved}"


def _make_private(path: Path) -> None:
    """Make a file that only its owner may read, where there is none.

    SQLite gives what it makes beside a database the database's mode. Raises LedgerError.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise LedgerError(f"cannot create {path}: {error.strerror}") from error


def _backup(path: Path, found: str) -> Path:
    copy = path.with_name(f"{path.name}.before-{HEAD}-at-{found}")
    _make_private(copy)
    with as_ledger_errors(f"back {path} up to {copy}"):
        source, target = sqlite3.connect(path), sqlite3.connect(copy)
        with target:
            source.backup(target)
        target.close()
        source.close()
    try:
        for kept in (copy, copy.parent):
            _sync(kept)
    except OSError as error:
        raise LedgerError(f"cannot back {path} up to {copy}: {error.strerror}") from error
    return copy


def _sync(path: Path) -> None:
    """Bring a file, or what a directory says, to the disk.

    SQLite syncs the pages of the copy, but not that its journal is gone: one that came back after
    a power cut would undo the copy.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _upgrade(path: Path) -> None:
    """Run Alembic in one transaction. It is imported only when there is something to do."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(scripts()))
    try:
        with as_ledger_errors(f"migrate {path}"), engine(path).begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise LedgerCorrupt(f"cannot migrate {path}: {error}") from error
