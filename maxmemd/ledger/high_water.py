"""The newest entry that was certainly kept, in a small file beside the database.

SQLite takes a damaged frame for the end of its WAL and silently forgets what follows. The
high-water mark remembers: it is written after each commit, without a sync of its own, so that it
can be behind the database after a power cut, but never ahead of it.
"""

import hashlib
import logging
import os
import struct
from pathlib import Path

from maxmemd.ledger.space import as_ledger_error

LOG = logging.getLogger("maxmemd.ledger")
SUFFIX = "-high-water"
_FORM = struct.Struct(">Q32s8s")


class HighWaterMark:
    """The file `DATABASE-high-water`. A damaged one is taken for none: it only adds suspicion."""

    def __init__(self, database: Path) -> None:
        self._path = path = database.with_name(f"{database.name}{SUFFIX}")
        self._is_behind = False
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise as_ledger_error(error, f"open {path}") from error

    def read(self) -> tuple[int, bytes] | None:
        """Return number and hash of an entry that the history must have; None if none is known."""
        found = os.pread(self._file, _FORM.size, 0)
        if len(found) < _FORM.size:
            return None
        seq, newest_hash, check = _FORM.unpack(found)
        return (seq, newest_hash) if check == _check(seq, newest_hash) else None

    def write(self, seq: int, newest_hash: bytes) -> None:
        """Remember the newest entry. What cannot be written leaves the file behind, not wrong.

        That is said once, until it can be written again.
        """
        try:
            os.pwrite(self._file, _FORM.pack(seq, newest_hash, _check(seq, newest_hash)), 0)
        except OSError as error:
            if not self._is_behind:
                LOG.error("cannot write %s: %s", self._path, error.strerror)  # noqa: TRY400
            self._is_behind = True
        else:
            self._is_behind = False

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


def _check(seq: int, newest_hash: bytes) -> bytes:
    return hashlib.sha256(b"%d:" % seq + newest_hash).digest()[:8]
