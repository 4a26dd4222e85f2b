"""The connection that writes, used only while the ledger's path names the file behind it."""

import logging
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

from maxmemd.errors import LedgerBusy, LedgerError, LedgerMoved
from maxmemd.ledger.place import OpenFiles, Place
from maxmemd.ledger.rescue import Rescue
from maxmemd.ledger.schema import as_ledger_errors, engine
from maxmemd.ledger.space import as_ledger_error

LOG = logging.getLogger("maxmemd.ledger")


class WritingConnection:
    """One connection to the database at `path`, which has to exist. Raises LedgerError."""

    def __init__(self, path: Path, *, busy_ms: int, place: Place) -> None:
        self._path, self._place = path, place
        self._engine = engine(path, busy_ms=busy_ms)
        self._rescue = Rescue(path)
        with as_ledger_errors(path, f"open the ledger {path}"):
            self.connection = self._engine.connect()
            self._files = self._found_files()

    def _found_files(self) -> OpenFiles:
        self._driver.execute("SELECT 1 FROM sqlite_master").fetchone()  # opens the WAL as well
        try:
            found = OpenFiles(self._path)
        except OSError as error:
            raise as_ledger_error(error, f"open the ledger {self._path}") from error
        self._place.hold(found)
        return found

    @property
    def _driver(self) -> sqlite3.Connection:
        driver: Any = self.connection.connection.driver_connection
        found: sqlite3.Connection = driver
        return found

    def check_place(self) -> None:
        """Raise LedgerMoved unless the ledger's paths name the files that are open."""
        displaced = self._files.displacement()
        if displaced:
            raise self._moved(displaced)

    def _moved(self, displaced: str) -> LedgerMoved:
        """Bring everything confirmed into a file that has a name; return what to say of it."""
        what = f"cannot use the ledger: {displaced}"
        if not self._rescue.is_running:
            with suppress(LedgerError):  # it is tried again at the next look, and at the end
                self._checkpoint("PASSIVE")  # so that the file is whole, whatever its name is now
        if not self.connection.closed and self._files.database.is_deleted:
            return LedgerMoved(f"{what}: {self._rescue.advance(self._driver)}")
        return LedgerMoved(
            f"{what}: move the one that was opened back, and maxmemd goes on by itself, or restart"
            " maxmemd to use what is there now (see docs/recovery.md)"
        )

    def reopen(self) -> None:
        """Open a new connection, and checkpoint the whole WAL into the database file.

        After a failed fsync the kernel may mark pages clean that never reached the disk. The
        checkpoint writes and syncs them again, so that later commits do not depend on them.
        """
        self._check_can_reopen()
        with as_ledger_errors(self._path, f"open the ledger {self._path} again"):
            if self._files.displacement() and self._checkpoint("TRUNCATE"):
                raise self._busy()
            self.connection.close()
            self.connection = self._engine.connect()
            before, self._files = self._files, self._found_files()
            before.close()
            is_busy = self._checkpoint("TRUNCATE")
        if is_busy:
            raise self._busy()

    def _check_can_reopen(self) -> None:
        """Raise LedgerMoved unless a new connection would find all that this one has."""
        database = self._files.database.displacement()
        if database and not self._rescue.is_in_place:
            raise self._moved(database)
        if database or self.connection.closed:  # then SQLite has removed the files beside it
            return
        intruder = self._files.intruder()
        if intruder:
            raise LedgerMoved(
                f"cannot use the ledger: {intruder}: move it away, and maxmemd goes on by itself"
            )

    def _busy(self) -> LedgerBusy:
        return LedgerBusy(f"cannot open the ledger {self._path} again: a reader holds its WAL")

    def _checkpoint(self, mode: str) -> bool:
        """Copy the WAL into the database file; return whether a reader kept some of it back.

        TRUNCATE waits for readers. Raises LedgerError.
        """
        if self.connection.closed:  # it could not be opened again: all there is is in the files
            return False
        with as_ledger_errors(self._path, "checkpoint the ledger"):
            found = self._driver.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        busy, frames, copied = found
        return bool(busy) or copied < frames

    def close(self) -> None:
        """Bring everything into the database file, so that it is whole by itself, and close it.

        Raises LedgerError if that failed; then the WAL has the rest.
        """
        try:
            if not self.connection.closed and self._files.database.is_deleted:
                LOG.critical("%s was deleted: %s", self._path, self._rescue.finish(self._driver))
            elif self._checkpoint("PASSIVE"):
                LOG.warning("a reader keeps part of the ledger in %s-wal", self._path)
        finally:
            self._rescue.close()
            self.connection.close()
            self._files.close()
