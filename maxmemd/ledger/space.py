"""Find out whether a disk is full by trying to write to it."""

import errno
import os
from pathlib import Path
from tempfile import TemporaryFile

from maxmemd.errors import LedgerError, LedgerFull
from maxmemd.files import NO_SPACE, why_unusable

MARGIN_BYTES = 1024 * 1024
"""More than SQLite needs at once: a WAL index grows by 32 KiB, a batch takes some 100 KiB."""


def has_no_room(directory: Path) -> bool:
    """Return whether MARGIN_BYTES cannot be written in this directory because it is full.

    This writes an unnamed temporary file, because statvfs knows nothing of quotas, of blocks
    reserved for root or for the file system, or of thin volumes. The file is synced because some
    file systems report the error only then. Other errors do not count as full.
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


def as_ledger_error(error: OSError, what: str, path: Path | None = None) -> LedgerError:
    """Return the LedgerError for a kernel error; for one of rights, with who owns the file."""
    kind = LedgerFull if error.errno in NO_SPACE else LedgerError
    is_refused = error.errno in (errno.EACCES, errno.EPERM)
    hint = why_unusable(path) if path is not None and is_refused else ""
    return kind(f"cannot {what}: {error.strerror}{hint}")
