"""Read-only transactions that end in time: at a deadline, or when no client waits any more."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from maxmemd.errors import LedgerError, ReadTooLong
from maxmemd.ledger.schema import as_ledger_errors
from maxmemd.pacing import Deadline

READ_S = 5.0
"""Seconds that a read may take where its caller sets no deadline."""

STEPS = 1000
"""SQLite's instructions between two looks at the deadline: less than a millisecond."""


class Read:
    """One read: its connection, what it is for, and until when it is wanted."""

    def __init__(self, what: str, until: Deadline) -> None:
        self.connection: sa.Connection
        self._what, self._until = what, until

    def check(self) -> None:
        """Raise ReadTooLong if the read is no longer wanted; to be called between statements."""
        if self._until.is_over:
            raise ReadTooLong(
                f"cannot {self._what} in time: ask for less with limit, or again later"
            )


@contextmanager
def reading(engine: sa.Engine, path: Path, what: str, until: Deadline) -> Iterator[Read]:
    """Open the database for one read; `what` says what it is for.

    Raises LedgerError, and ReadTooLong for a statement that runs when `until` is over.
    """
    read = Read(what, until)
    read.check()
    try:
        with as_ledger_errors(path, what), engine.begin() as read.connection:
            driver: Any = read.connection.connection.driver_connection
            driver.set_progress_handler(lambda: until.is_over, STEPS)
            try:
                yield read
            finally:
                driver.set_progress_handler(None, 0)  # the transaction ends undisturbed
    except LedgerError:
        read.check()  # what is interrupted raises LedgerError
        raise
