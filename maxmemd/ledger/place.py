"""Whether the ledger's paths still name the files that are open.

SQLite works on open files. After `rm`, `mv`, or a backup renamed over the database, it would go on
writing to a file that no start finds again.
"""

import os
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from maxmemd.errors import LedgerMoved

BESIDE = ("-wal", "-shm")
"""The suffixes of SQLite's files beside a database."""


class Anchor:
    """An open file, and the path that it was opened by.

    While it is held the file's inode number is not used again, so another file is always told
    apart. Raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._path = path, str(path)
        # O_PATH, because closing any other descriptor of a database releases SQLite's locks on it.
        self._descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        found = os.fstat(self._descriptor)
        self._identity = (found.st_dev, found.st_ino)

    def displacement(self) -> str:
        """Say what is wrong with the path, "" if it names this file."""
        try:
            found = os.stat(self._path)  # noqa: PTH116 - twice as fast, in every decision
        except (FileNotFoundError, NotADirectoryError):
            return f"{self.path} was deleted or moved away"
        except OSError as error:
            return f"{self.path} cannot be looked at: {error.strerror}"
        if (found.st_dev, found.st_ino) == self._identity:
            return ""
        return f"{self.path} is another file than the one that was opened"

    def is_at(self, path: Path) -> bool:
        """Whether a path names this file. Raises OSError."""
        found = path.stat()
        return (found.st_dev, found.st_ino) == self._identity

    @property
    def is_deleted(self) -> bool:
        """Whether the file has no name any more, and is lost once it is closed."""
        return os.fstat(self._descriptor).st_nlink == 0

    def close(self) -> None:
        """Let the file go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


class OpenFiles:
    """The files of a database that is open: itself, its WAL and its WAL index."""

    def __init__(self, database: Path) -> None:
        """To be made after SQLite has opened all of them. Raises OSError."""
        self.database = Anchor(database)
        real = os.path.realpath(database)  # beside the file itself, if the path is a link to it
        self._beside: list[Anchor] = []
        for suffix in BESIDE:
            with suppress(FileNotFoundError):  # SQLite could not create it, and says so itself
                self._beside.append(Anchor(Path(real + suffix)))
        self._anchors = (self.database, *self._beside)

    def displacement(self) -> str:
        """Say which path does not name its file any more, "" if all of them do."""
        for anchor in self._anchors:
            displaced = anchor.displacement()
            if displaced:
                return displaced
        return ""

    def intruder(self) -> str:
        """Say which path beside the database names a file that is not ours, "" if none does."""
        displaced = [anchor for anchor in self._beside if anchor.displacement()]
        found = [anchor.path for anchor in displaced if os.path.lexists(anchor.path)]
        return f"{found[0]} is another file than the one that was opened" if found else ""

    def close(self) -> None:
        """Let the files go."""
        for anchor in self._anchors:
            anchor.close()


class Place:
    """Which file the ledger is, for the readers of its process, who open it by its path."""

    def __init__(self) -> None:
        self._database: Anchor | None = None

    def hold(self, files: OpenFiles) -> None:
        """Take what the writer has open as the ledger."""
        self._database = files.database

    def guard(self, readers: sa.Engine) -> None:
        """Have each transaction of an engine raise LedgerMoved where the path is another file's."""

        @sa.event.listens_for(readers, "begin")
        def check(_: sa.Connection) -> None:
            displaced = "" if self._database is None else self._database.displacement()
            if displaced:
                raise LedgerMoved(f"cannot read the ledger: {displaced} (see docs/recovery.md)")
