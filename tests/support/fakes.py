"""Fakes that keep the ports' promises: time that stands still, and a ledger in memory."""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache

from maxmemd.errors import LedgerError
from maxmemd.policy.codec import ending_from_json, record_from_text
from maxmemd.policy.components import Record
from maxmemd.policy.drift import SetMode
from maxmemd.policy.endings import UNSEEN, Ending
from maxmemd.policy.entries import Entry, InstanceRow, PushRow, Snapshot
from maxmemd.ports import NO_MODES, NO_NAMES


class FakeClock:
    """Time that passes only when a test advances it."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.at_ns = 1_800_000_000_000_000_000

    def monotonic_s(self) -> float:
        """Seconds since some fixed instant."""
        return self.now_s

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, as the host's clock has it."""
        return self.at_ns

    def forward(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.now_s += seconds
        self.at_ns += int(seconds * 1e9)


class MemoryLedger:
    """A Ledger that is a few lists. It outlives an arbiter, as a file does.

    A commit can be told to fail; one that fails may have been kept all the same, and then only
    `reopen` and `load` show it. Writing before that is a fault of the caller.
    """

    def __init__(self) -> None:
        self.lines: list[Entry] = []
        self.heads: dict[str, int] = {}
        self.instances: dict[tuple[str, int], InstanceRow] = {}
        self.rows: list[PushRow] = []
        self.names: dict[str, str] = {}
        self.drift_modes: dict[str, SetMode] = {}
        self.commits = 0
        self.reopened = 0
        self._failures: deque[tuple[LedgerError, bool]] = deque()
        self._certain = True

    def fail(self, error: LedgerError, *, kept: bool = False) -> None:
        """Let one more commit fail."""
        self._failures.append((error, kept))

    def heal(self) -> None:
        """Let no commit fail any more."""
        self._failures.clear()

    def load(self) -> Snapshot:
        """Return what is kept."""
        self._certain = True
        records = tuple(self._record(self.lines[head]) for head in self.heads.values())
        begun = tuple(row for row in self.instances.values() if row.ended_ns is None)
        incarnations: dict[str, int] = {}
        for uuid, incarnation in self.instances:
            incarnations[uuid] = max(incarnation, incarnations.get(uuid, 0))
        extent = (len(self.lines), len(self.rows))
        modes, names = dict(self.drift_modes), dict(self.names)
        return Snapshot(records, begun, incarnations, self._endings(), extent, modes, names)

    def reopen(self) -> None:
        """Bring the ledger to one certain state."""
        self.reopened += 1

    def commit(
        self,
        at_ns: int,
        entries: Sequence[Entry],
        *,
        instances: Sequence[InstanceRow] = (),
        pushes: Sequence[PushRow] = (),
        forgotten: Sequence[str] = (),
        names: Mapping[str, str] = NO_NAMES,
        drift_modes: Mapping[str, SetMode | None] = NO_MODES,
    ) -> None:
        """Keep all of it or nothing."""
        assert self._certain, "written to before it was read again"
        error, kept = self._failures.popleft() if self._failures else (None, True)
        if kept:
            self._keep(entries, instances, pushes, forgotten)
            self.names.update(names)
            self.drift_modes |= {uuid: mode for uuid, mode in drift_modes.items() if mode}
            for uuid in [uuid for uuid, mode in drift_modes.items() if mode is None]:
                self.drift_modes.pop(uuid, None)
        if error is not None:
            self._certain = error.code == "ledger-busy"
            raise error
        self.commits += 1

    def by_keys(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return the entries that were kept under these idempotency keys."""
        return {line.key: line for line in self.lines if line.key in keys and line.key is not None}

    def newest_of(self, uuids: Sequence[str]) -> str:
        """Return the domain among these that the newest entry is about."""
        return next(line.uuid for line in reversed(self.lines) if line.uuid in uuids)

    def record_at(self, uuid: str, revision: int) -> Record | None:
        """Return a record as it was at a revision, or None."""
        for line in reversed(self.lines):
            if (line.uuid, line.revision) == (uuid, revision) and line.state is not None:
                return self._record(line)
        return None

    def close(self) -> None:
        """Do nothing: lists need no closing."""

    def kinds(self, uuid: str) -> list[str]:
        """Return the kinds of a domain's entries, oldest first."""
        return [line.kind for line in self.lines if line.uuid == uuid]

    def words(self, kind: str) -> list[dict[str, object]]:
        """Return what the entries of one kind say."""
        return [json.loads(line.wish) for line in self.lines if line.kind == kind]

    def _endings(self) -> dict[str, Ending]:
        endings = {}
        rows = self.instances.values()
        settled = {row.uuid for row in rows if row.ended_ns is None and row.build is None}
        for uuid, head in self.heads.items():
            newest = [line for line in self.lines if line.uuid == uuid][-20:]
            lives = [line for line in newest if line.kind == "instance-ended"]
            if not lives:
                continue
            at = next(n for n, line in enumerate(self.lines) if line is lives[-1])
            ending = ending_from_json(json.loads(lives[-1].wish))
            if head > at and uuid not in settled and self._record(self.lines[head]).decided:
                ending = (ending or UNSEEN)._replace(decided_ahead=True)
            if ending is not None:
                endings[uuid] = ending
        return endings

    def _keep(
        self,
        entries: Sequence[Entry],
        instances: Sequence[InstanceRow],
        pushes: Sequence[PushRow],
        forgotten: Sequence[str],
    ) -> None:
        for entry in entries:
            self.lines.append(entry)
            if entry.state is not None:
                self.heads[entry.uuid] = len(self.lines) - 1
        self.instances.update({(row.uuid, row.incarnation): row for row in instances})
        self.rows.extend(pushes)
        for uuid in forgotten:
            self.heads.pop(uuid, None)

    @staticmethod
    @lru_cache(4096)
    def _record(line: Entry) -> Record:
        return record_from_text(line.uuid, line.revision, line.state or "{}")
