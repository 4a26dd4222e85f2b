"""Lock the ledger for one process, and keep root from creating files in another user's ledger."""

import fcntl
import glob
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maxmemd.errors import ConfigError, LedgerBusy
from maxmemd.files import give_existing, need_folder, open_private
from maxmemd.ledger.space import as_ledger_error

LOG = logging.getLogger("maxmemd.ledger")


@contextmanager
def exclusive_lock(database: Path) -> Iterator[None]:
    """Hold the database's lock file and the database, so that only one process ever writes.

    The lock file keeps others from the name while the database is replaced; the lock on the
    database keeps them from the file, by whatever name they use it.

    Raises LedgerBusy if another process holds one of them, LedgerError if one cannot be created,
    ConfigError if the path names no file or its folder is not there.
    """
    if not database.name:
        raise ConfigError(f"cannot use {database} as the database: name a file")
    lock = database.with_name(database.name + ".lock")
    need_folder(database, f"use {database} as the database")
    with _locked(lock, database, f"another maxmemd holds {lock}"):
        give_existing(database.parent.glob(f"{glob.escape(database.name)}*"))
        with _locked(database, database, "another maxmemd uses this file by another name"):
            if database.stat().st_nlink > 1:
                warning = "%s has another name, a hard link: a WAL is beside one name only (%s)"
                LOG.warning(warning, database, "see docs/recovery.md")
            yield


@contextmanager
def _locked(path: Path, database: Path, why_busy: str) -> Iterator[None]:
    """Hold flock's lock on a file, which is made if it is not there.

    flock, because SQLite's own locks on a database are fcntl's, and leave flock's alone. To close
    the descriptor releases SQLite's: that is for the end, when no connection is open.
    """
    try:
        descriptor = open_private(path, os.O_RDONLY | os.O_NONBLOCK)  # it may be a FIFO
    except OSError as error:
        what = f"use {database}" if path == database else f"use {database}: {path}"
        raise as_ledger_error(error, what, path) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LedgerBusy(f"cannot use {database}: {why_busy}") from None
        yield
    finally:
        os.close(descriptor)


def become_owner_of(folder: Path) -> None:
    """As root, become the ledger's owner: the daemon could not open files created by root."""
    if os.geteuid() == 0 and folder.exists() and (owner := folder.stat()).st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
