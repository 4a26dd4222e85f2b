"""Lock the ledger for one process, and keep root from creating files in another user's ledger."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maxmemd.errors import ConfigError, LedgerBusy
from maxmemd.ledger.space import as_ledger_error


@contextmanager
def exclusive_lock(database: Path) -> Iterator[None]:
    """Hold the database's lock file, so that only one process ever writes.

    Raises LedgerBusy if another process holds it, LedgerError if it cannot be created,
    ConfigError if the path names no file.
    """
    if not database.name:
        raise ConfigError(f"cannot use {database} as the database: name a file")
    lock = database.with_name(database.name + ".lock")
    try:
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise as_ledger_error(error, f"use {database}: {lock}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
