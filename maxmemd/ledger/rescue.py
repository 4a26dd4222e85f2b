"""Save a database that was deleted while it is open: copy it to a file beside its path."""

import logging
import os
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic

from maxmemd.files import open_private, sync
from maxmemd.ledger.place import Anchor
from maxmemd.systemd import ask_for_time

LOG = logging.getLogger("maxmemd.ledger")
AGAIN_S = 30.0
"""After a copy that failed the next one is tried this much later."""
LOOK_EVERY_S = 5.0
"""How often a stop that waits for a copy asks systemd for more time."""
MORE_TIME_S = 30.0
"""How much it asks for each time; TimeoutStopSec= would kill it before the copy is whole."""


class Rescue:
    """Copies in a thread of its own, since the arbiter's has to come round while it lasts."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._thread: threading.Thread | None = None
        self._copy: Anchor | None = None
        self._trouble = ""
        self._failed_s = 0.0

    @property
    def is_running(self) -> bool:
        """Whether a copy is being made; nothing else may use its source then."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_in_place(self) -> bool:
        """Whether the database's path names the copy by now."""
        if self.is_running or self._copy is None:
            return False
        with suppress(OSError):
            return self._copy.is_at(self._database)
        return False

    def advance(self, source: sqlite3.Connection) -> str:
        """Begin to copy, unless there is a copy or it is being made; say how far it is."""
        if self.is_running:
            return "what it held is being saved"
        if self.is_in_place:
            return "what it held is in the file of that name now"
        if self._copy is not None and not self._copy.is_deleted:
            copy = self._copy.path
            return (
                f"what it held is in {copy} (mv {copy} {self._database}, and maxmemd goes on by"
                " itself)"
            )
        if self._trouble and monotonic() - self._failed_s < AGAIN_S:
            return f"what it held cannot be saved beside it: {self._trouble} (do not stop maxmemd)"
        self._thread = threading.Thread(target=self._save, args=[source], name="rescue")
        self._thread.start()
        return "what it held is being saved"

    def finish(self, source: sqlite3.Connection) -> str:
        """Have a copy before this returns, unless it cannot be made; say where it is."""
        self._trouble = ""
        self.advance(source)
        self._join()
        return self.advance(source)

    def close(self) -> None:
        """Let the copy go."""
        self._join()
        if self._copy is not None:
            self._copy.close()

    def _join(self) -> None:
        """Wait for the copy that is being made, and have systemd wait as well."""
        while self.is_running and self._thread is not None:
            ask_for_time(MORE_TIME_S)
            self._thread.join(LOOK_EVERY_S)

    def _save(self, source: sqlite3.Connection) -> None:
        try:
            self._copy, self._trouble = self._copied(source), ""
        except (OSError, sqlite3.Error) as error:
            self._trouble, self._failed_s = str(error), monotonic()
            LOG.critical("cannot save the deleted ledger: %s", error)
        else:
            LOG.critical("%s was deleted: what it held is in %s", self._database, self._copy.path)

    def _copied(self, source: sqlite3.Connection) -> Anchor:
        """Return a durable copy under a name of its own. Raises OSError or sqlite3.Error."""
        new = self._database.with_name(f"{self._database.name}.rescued.new")
        new.unlink(missing_ok=True)  # of a copy that a crash cut short
        os.close(open_private(new, os.O_RDWR | os.O_EXCL))
        with closing(sqlite3.connect(new)) as target:
            source.backup(target)
        sync(new)
        copy = self._unused_name()
        new.rename(copy)
        sync(copy.parent)
        return Anchor(copy)

    def _unused_name(self) -> Path:
        """Return a name that no file has: an earlier copy may be all there is of another ledger."""
        number = 1
        while (
            name := self._database.with_name(f"{self._database.name}.rescued-{number}")
        ).exists():
            number += 1
        return name
