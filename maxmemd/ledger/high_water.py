"""A file beside the database that names the newest committed entry.

SQLite takes a damaged frame for the end of its WAL and silently drops what follows. The high-water
mark detects that. It is written after each commit without a sync of its own, so after a power cut
it may be behind the database but never ahead of it.
"""

import hashlib
import logging
import os
import struct
from pathlib import Path

from maxmemd.files import open_private
from maxmemd.ledger.space import as_ledger_error

LOG = logging.getLogger("maxmemd.ledger")
SUFFIX = "-high-water"
_FORM = struct.Struct(">Q32s8s")


class HighWaterMark:
    """The file `DATABASE-high-water`. A damaged one is ignored: it is only an additional check."""

    def __init__(self, database: Path) -> None:
        self._path = path = _path_of(database)
        self._is_behind = self._is_displaced = False
        try:
            self._open()
        except OSError as error:
            raise as_ledger_error(error, f"open {path}", path) from error

    def _open(self) -> None:
        self._file = open_private(self._path, os.O_RDWR)

    def read(self) -> tuple[int, bytes] | None:
        """Return seq and hash of an entry that the history must have; None if unknown."""
        return _entry_in(os.pread(self._file, _FORM.size, 0))

    def write(self, seq: int, newest_hash: bytes) -> None:
        """Record the newest entry. A failed write leaves the file behind, not wrong.

        It is logged once, until a write succeeds again.
        """
        try:
            os.pwrite(self._file, _FORM.pack(seq, newest_hash, _check(seq, newest_hash)), 0)
        except OSError as error:
            self._is_behind = self._log_once(error, self._is_behind)
        else:
            self._is_behind = False

    def _log_once(self, error: OSError, was_logged: bool) -> bool:
        if not was_logged:
            LOG.error("cannot write %s: %s", self._path, error.strerror)
        return True

    def keep_in_place(self, seq: int, newest_hash: bytes) -> None:
        """Make the file again if its path does not name it any more."""
        try:
            is_in_place = os.path.samestat(os.stat(self._path), os.fstat(self._file))  # noqa: PTH116
        except OSError:
            is_in_place = False
        if is_in_place:
            return
        before = self._file
        try:
            self._open()
        except OSError as error:
            self._is_displaced = self._log_once(error, self._is_displaced)
        else:
            self._is_displaced = False
            os.close(before)
            self.write(seq, newest_hash)

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


def remembered_seq(database: Path) -> int:
    """Return the number of the newest entry that was written to a database; 0 if none is known."""
    try:
        found = _path_of(database).read_bytes()
    except OSError:
        return 0
    entry = _entry_in(found[: _FORM.size])
    return 0 if entry is None else entry[0]


def _path_of(database: Path) -> Path:
    return database.with_name(f"{database.name}{SUFFIX}")


def _entry_in(found: bytes) -> tuple[int, bytes] | None:
    if len(found) < _FORM.size:
        return None
    seq, newest_hash, check = _FORM.unpack(found)
    return (seq, newest_hash) if check == _check(seq, newest_hash) else None


def _check(seq: int, newest_hash: bytes) -> bytes:
    return hashlib.sha256(b"%d:" % seq + newest_hash).digest()[:8]
