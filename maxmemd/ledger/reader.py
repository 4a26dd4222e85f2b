"""Read-only queries, from any thread: history, pushes, and the check of the whole chain."""

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa

from maxmemd.errors import LedgerCorrupt, LedgerError
from maxmemd.ledger import history
from maxmemd.ledger.anchor import Anchor, read_anchor
from maxmemd.ledger.chain import ChainCheck
from maxmemd.ledger.place import Place
from maxmemd.ledger.reading import READ_S, Read, reading
from maxmemd.ledger.schema import as_ledger_errors, engine
from maxmemd.ledger.walks import ENTRIES, PUSHES, DomainRows
from maxmemd.pacing import Deadline
from maxmemd.policy.codec import from_text

STRIDE = 500
"""Entries read at once by `check`."""

MOST_BEGUN = 2
"""How often a check begins again because older entries were pruned meanwhile."""

MOST_BYTES = 512 * 1024
"""Bytes of a page, but for its last entry: 500 entries of a domain with a few components fit."""

MOST_CACHED = 4096
"""Revisions in the cache of `made_by`, with less than a kilobyte each."""


class Page(NamedTuple):
    """Some entries or pushes of a domain, newest first, each encoded.

    `next_before` asks for the page that follows; None if there is none.
    """

    items: Sequence[bytes]
    next_before: int | None


class MadeBy(NamedTuple):
    """The entry that made a revision of a record. `actor` is JSON text."""

    seq: int
    at_ns: int
    kind: str
    actor: str
    reason: str


Encoder = Callable[[sa.Row[Any]], bytes]
"""Makes of an entry or a push what a page has of it."""


class ReadPage(Protocol):
    """LedgerReader.history or LedgerReader.pushes."""

    def __call__(
        self,
        uuid: str,
        encode: Encoder,
        *,
        limit: int,
        before: int | None = None,
        until: Deadline | None = None,
    ) -> Page:
        """Return the newest of a domain below `before`: `limit`, or as many as a page holds."""
        ...


class LedgerReader:
    """Opens the database read-only for each query, so that it never holds a lock.

    Every method raises LedgerError, and ReadTooLong once `until` is over, which another thread can
    end: by default that is after READ_S.
    """

    def __init__(self, path: Path, place: Place | None = None) -> None:
        self._path = path
        self._engine = engine(path, read_only=True)
        (place or Place()).guard(self._engine)
        self._is_check_over = threading.Event()
        self._checking: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[int, str, int], MadeBy] = OrderedDict()

    def history(
        self,
        uuid: str,
        encode: Encoder,
        *,
        limit: int,
        before: int | None = None,
        until: Deadline | None = None,
    ) -> Page:
        """Return a domain's entries below entry `before`: `limit`, or as many as a page holds."""
        with self._reading("read the history", until) as read:
            return _page(read, ENTRIES, ENTRIES.rows(read.connection, uuid, limit, before), encode)

    def pushes(
        self,
        uuid: str,
        encode: Encoder,
        *,
        limit: int,
        before: int | None = None,
        until: Deadline | None = None,
    ) -> Page:
        """Return a domain's pushes below push `before`: `limit`, or as many as a page holds."""
        with self._reading("read the pushes", until) as read:
            return _page(read, PUSHES, PUSHES.rows(read.connection, uuid, limit, before), encode)

    def made_by(
        self,
        uuid: str,
        revisions: Sequence[int],
        generation: int,
        until: Deadline | None = None,
    ) -> dict[int, MadeBy]:
        """Return what made these revisions of a record, the newest entry of each.

        It is cached while `generation` stays the same: a forgotten record begins again at
        revision 1.
        """
        known = self._cached(uuid, revisions, generation)
        missing = [revision for revision in revisions if revision not in known]
        if not missing:
            return known
        with self._reading("read the history", until) as read:
            rows = history.revision_entries(read.connection, uuid, missing, read.check)
        found = {
            revision: MadeBy(row.seq, row.at_ns, row.kind, row.actor, _reason_in(row.wish))
            for revision, row in rows.items()
        }
        self._add_to_cache(uuid, found, generation)
        return known | found

    def _reading(self, what: str, until: Deadline | None) -> AbstractContextManager[Read]:
        return reading(self._engine, self._path, what, until or Deadline(READ_S))

    def _cached(self, uuid: str, revisions: Sequence[int], generation: int) -> dict[int, MadeBy]:
        with self._lock:
            keys = [key for key in ((generation, uuid, r) for r in revisions) if key in self._cache]
            for key in keys:
                self._cache.move_to_end(key)
            return {key[2]: self._cache[key] for key in keys}

    def _add_to_cache(self, uuid: str, found: dict[int, MadeBy], generation: int) -> None:
        with self._lock:
            for revision, made in found.items():
                self._cache[generation, uuid, revision] = made
            while len(self._cache) > MOST_CACHED:
                self._cache.popitem(last=False)

    def anchor(self) -> Anchor:
        """Return from where the chain can be proved."""
        with as_ledger_errors(self._path, "read the ledger"), self._engine.begin() as connection:
            return read_anchor(connection)

    def check(self, *, pause_s: float = 0.0) -> int:
        """Check all entries and SQLite's own structure; return the newest entry's number.

        It rests for `pause_s` after every STRIDE entries, so that the daemon can serve requests.
        Raises LedgerCorrupt for the first entry that is missing or not as it was written. After
        `end_check` it returns before the next entries, and what it returns says nothing.
        """
        chain = ChainCheck()
        is_done = False
        while not (is_done or self._is_check_over.is_set()):
            is_done = self._check_some(chain)
            if not is_done:
                self._is_check_over.wait(pause_s)
        if is_done:
            self._check_structure()
        return chain.seen

    def _check_some(self, chain: ChainCheck) -> bool:
        """Check one stride; all of them where pruning goes on faster than a check does.

        In one transaction nothing is pruned for this reader. Return whether all is checked.
        """
        with (
            as_ledger_errors(self._path, "check the ledger"),
            self._engine.begin() as connection,
        ):
            is_done = chain.stride(connection, STRIDE)
            while chain.begun > MOST_BEGUN and not (is_done or self._is_check_over.is_set()):
                is_done = chain.stride(connection, STRIDE)
        return is_done

    def end_check(self) -> None:
        """Let a check that runs, and any later one, end at once. From any thread."""
        self._is_check_over.set()
        driver = self._checking
        if driver is not None:
            with suppress(sqlite3.Error):  # it is closed by now
                driver.interrupt()

    def _check_structure(self) -> None:
        """Check what is not in the entries: in one statement, which `end_check` interrupts."""
        try:
            with as_ledger_errors(self._path, "check the ledger"), self._engine.begin() as opened:
                self._checking = opened.connection.driver_connection
                found = opened.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
        except LedgerError:
            if self._is_check_over.is_set():
                return
            raise
        finally:
            self._checking = None
        if found != "ok":
            raise LedgerCorrupt(f"cannot trust the ledger: {found} (see docs/recovery.md)")


def _reason_in(wish: str) -> str:
    return str(from_text(wish).get("reason", ""))


def _page(read: Read, table: DomainRows, rows: sa.Result[Any], encode: Encoder) -> Page:
    """Encode rows, one at a time, until they fill a page."""
    items: list[bytes] = []
    size, last = 0, None
    for last in rows:
        read.check()
        items.append(encode(last))
        size += len(items[-1])
        if size >= MOST_BYTES:
            rows.close()
            break
    is_more = last is not None and table.is_there(read.connection, last.prior)
    return Page(items, last[0] if last is not None and is_more else None)
