"""Read-only queries, from any thread: history, pushes, and the check of the whole chain."""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from maxmemd.errors import LedgerCorrupt
from maxmemd.ledger import history
from maxmemd.ledger.integrity import check_entries, check_priors
from maxmemd.ledger.schema import HISTORY, PUSH, as_ledger_errors, engine

STRIDE = 500
"""Entries read at once by `check`."""

MOST_CACHED = 4096
"""Entries in the cache of `entries_of`: a walk to an old entry passes all newer ones."""


class LedgerReader:
    """Opens the database read-only for each query, so that it never holds a lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = engine(path, read_only=True)
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[int, str, int], sa.Row[Any]] = OrderedDict()

    def history(self, uuid: str, *, limit: int, before: int | None) -> Sequence[sa.Row[Any]]:
        """Return a domain's entries, newest first, below entry `before`."""
        with as_ledger_errors(self._path, "read the history"), self._engine.begin() as connection:
            start: Any = history.newest(uuid)
            if before is not None:
                start = connection.scalar(history.before(uuid, before)) or 0
            return connection.execute(history.entries(start, limit)).all()

    def entries_of(
        self, uuid: str, revisions: Sequence[int], generation: int
    ) -> dict[int, sa.Row[Any]]:
        """Return the entries that made these revisions of a record, the newest of each.

        They are cached while `generation` stays the same: a forgotten record begins again at
        revision 1.
        """
        known = self._cached(uuid, revisions, generation)
        missing = [revision for revision in revisions if revision not in known]
        if not missing:
            return known
        wanted = history.revision_entries(uuid, min(missing)).where(HISTORY.c.revision.in_(missing))
        with as_ledger_errors(self._path, "read the history"), self._engine.begin() as connection:
            rows = connection.execute(wanted).all()
        found = {row.revision: row for row in reversed(rows)}
        self._add_to_cache(uuid, found, generation)
        return known | found

    def _cached(
        self, uuid: str, revisions: Sequence[int], generation: int
    ) -> dict[int, sa.Row[Any]]:
        with self._lock:
            keys = [key for key in ((generation, uuid, r) for r in revisions) if key in self._cache]
            for key in keys:
                self._cache.move_to_end(key)
            return {key[2]: self._cache[key] for key in keys}

    def _add_to_cache(self, uuid: str, found: dict[int, sa.Row[Any]], generation: int) -> None:
        with self._lock:
            for revision, row in found.items():
                self._cache[generation, uuid, revision] = row
            while len(self._cache) > MOST_CACHED:
                self._cache.popitem(last=False)

    def pushes(self, uuid: str, *, limit: int) -> Sequence[sa.Row[Any]]:
        """Return a domain's pushes, newest first."""
        wanted = sa.select(PUSH).where(PUSH.c.uuid == uuid).order_by(PUSH.c.id.desc())
        with as_ledger_errors(self._path, "read the pushes"), self._engine.begin() as connection:
            return connection.execute(wanted.limit(limit)).all()

    def check(self, *, pause_s: float = 0.0) -> int:
        """Check all entries and SQLite's own structure; return the number of entries.

        It sleeps for `pause_s` after every STRIDE entries, so that the daemon can serve requests.
        Raises LedgerCorrupt for the first entry that is missing or not as it was written.
        """
        seen, before = 0, None
        newest: dict[str, int] = {}
        while True:
            with (
                as_ledger_errors(self._path, "check the ledger"),
                self._engine.begin() as connection,
            ):
                rows = connection.execute(
                    sa.select(HISTORY)
                    .where(HISTORY.c.seq > seen)
                    .order_by(HISTORY.c.seq)
                    .limit(STRIDE)
                ).all()
            if not rows:
                self._check_structure()
                return seen
            check_entries(rows, before, after=seen)
            check_priors(rows, newest)
            seen, before = rows[-1].seq, rows[-1].hash
            time.sleep(pause_s)

    def _check_structure(self) -> None:
        with as_ledger_errors(self._path, "check the ledger"), self._engine.begin() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
        if found != "ok":
            raise LedgerCorrupt(f"cannot trust the ledger: {found} (see docs/recovery.md)")
