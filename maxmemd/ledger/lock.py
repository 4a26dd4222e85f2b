"""Lock the ledger for one process, and keep root from creating files in another user's ledger."""

import fcntl
import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maxmemd.errors import ConfigError, LedgerBusy
from maxmemd.files import give_existing, need_folder, open_private
from maxmemd.ledger.space import as_ledger_error


@contextmanager
def exclusive_lock(database: Path) -> Iterator[None]:
    """Hold the database's lock file, so that only one process ever writes.

    Raises LedgerBusy if another process holds it, LedgerError if it cannot be created,
    ConfigError if the path names no file or its folder is not there.
    """
    if not database.name:
        raise ConfigError(f"cannot use {database} as the database: name a file")
    lock = database.with_name(database.name + ".lock")
    need_folder(database, f"use {database} as the database")
    try:
        descriptor = open_private(lock, os.O_RDWR)
    except OSError as error:
        raise as_ledger_error(error, f"use {database}: {lock}", lock) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        give_existing(database.parent.glob(f"{glob.escape(database.name)}*"))
        yield
    except BlockingIOError:
        raise LedgerBusy(f"cannot use {database}: another maxmemd holds {lock}") from None
    finally:
        os.close(descriptor)


def become_owner_of(folder: Path) -> None:
    """As root, become the ledger's owner: the daemon could not open files created by root."""
    if os.geteuid() == 0 and folder.exists() and (owner := folder.stat()).st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
