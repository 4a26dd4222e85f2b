"""Whether a disk is full, asked of the disk itself."""

import errno
import os
from pathlib import Path
from tempfile import TemporaryFile

from maxmemd.errors import LedgerError, LedgerFull

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What the kernel answers where the file system or the user's quota has no room left."""

MARGIN_BYTES = 1024 * 1024
"""More than SQLite asks for at once: a WAL's index grows by 32 KiB, a batch by some hundred."""


def has_no_room(directory: Path) -> bool:
    """Return whether a file in this directory cannot grow by MARGIN_BYTES for want of space.

    It is tried, in a file without a name that is gone when it is closed, because the numbers of
    statvfs know nothing of quotas, of blocks that are reserved for root or that a file system
    keeps for itself, and of a thin volume. It is synced because some file systems find out only
    then. A disk that fails in another way, or a directory that may not be written, is not full.
    """
    try:
        with TemporaryFile(dir=directory, buffering=0) as file:
            left = memoryview(os.urandom(MARGIN_BYTES))  # zeros would be compressed to nothing
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno in NO_SPACE
    return False


def as_ledger_error(error: OSError, what: str) -> LedgerError:
    """Return the kernel's error as the LedgerError that it means."""
    kind = LedgerFull if error.errno in NO_SPACE else LedgerError
    return kind(f"cannot {what}: {error.strerror}")
