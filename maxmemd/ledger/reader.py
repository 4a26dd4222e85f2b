"""Read-only questions to the ledger, from any thread: history, pushes, and the whole chain."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from maxmemd.errors import LedgerCorrupt
from maxmemd.ledger import walks
from maxmemd.ledger.checks import check_lines, check_priors
from maxmemd.ledger.tables import JOURNAL, PUSH, as_ledger_errors, engine

STRIDE = 500
"""Lines fetched at once while the chain is checked."""


class LedgerReader:
    """Opens the database read-only for each question, so that it never holds a lock."""

    def __init__(self, path: Path) -> None:
        self._engine = engine(path, read_only=True)

    def history(self, uuid: str, *, limit: int, before: int | None) -> Sequence[sa.Row[Any]]:
        """Return a domain's journal lines, newest first, below line `before`."""
        with as_ledger_errors("read the history"), self._engine.begin() as connection:
            start: Any = walks.newest(uuid)
            if before is not None:
                start = connection.scalar(walks.before(uuid, before)) or 0
            return connection.execute(walks.lines(start, limit)).all()

    def made(self, uuid: str, revisions: Sequence[int]) -> dict[int, sa.Row[Any]]:
        """Return the lines that made these revisions of a record: the newest of each."""
        wanted = walks.made(uuid, min(revisions, default=0))
        wanted = wanted.where(JOURNAL.c.revision.in_(revisions))
        with as_ledger_errors("read the history"), self._engine.begin() as connection:
            rows = connection.execute(wanted).all()
        return {row.revision: row for row in reversed(rows)}

    def pushes(self, uuid: str, *, limit: int) -> Sequence[sa.Row[Any]]:
        """Return a domain's pushes, newest first."""
        wanted = sa.select(PUSH).where(PUSH.c.uuid == uuid).order_by(PUSH.c.id.desc())
        with as_ledger_errors("read the pushes"), self._engine.begin() as connection:
            return connection.execute(wanted.limit(limit)).all()

    def check(self, *, pause_s: float = 0.0) -> int:
        """Check every line ever written and SQLite's own structure; return the number of lines.

        It rests for `pause_s` after every STRIDE lines, so that a daemon serves meanwhile.
        Raises LedgerCorrupt with the first line that is missing or not as it was written.
        """
        seen, before = 0, None
        newest: dict[str, int] = {}
        while True:
            with as_ledger_errors("check the ledger"), self._engine.begin() as connection:
                rows = connection.execute(
                    sa.select(JOURNAL)
                    .where(JOURNAL.c.seq > seen)
                    .order_by(JOURNAL.c.seq)
                    .limit(STRIDE)
                ).all()
            if not rows:
                self._check_structure()
                return seen
            check_lines(rows, before, after=seen)
            check_priors(rows, newest)
            seen, before = rows[-1].seq, rows[-1].hash
            time.sleep(pause_s)

    def _check_structure(self) -> None:
        with as_ledger_errors("check the ledger"), self._engine.begin() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
        if found != "ok":
            raise LedgerCorrupt(f"cannot trust the ledger: {found} (see docs/recovery.md)")
