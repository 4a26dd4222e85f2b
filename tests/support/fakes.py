"""Fakes that keep the ports' promises: time that stands still, and a ledger in memory."""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache

from maxmemd.errors import LedgerError
from maxmemd.policy.codec import build_from_text, ending_from_json, record_from_text
from maxmemd.policy.components import Record
from maxmemd.policy.drift import SetMode
from maxmemd.policy.endings import UNSEEN, Ending
from maxmemd.policy.entries import Entry, InstanceRow, PushRow, Snapshot
from maxmemd.policy.retention import Retention, slot_of
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
        self.times: list[int] = []
        self.pruned_to = 0
        self.gone: set[int] = set()
        """Places in `lines` of those that were pruned; tests may look at them all the same."""
        self.kept: dict[tuple[str, int], int] = {}
        self.dropped_rows = 0
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
        extent = (len(self.lines), self.dropped_rows + len(self.rows))
        modes = dict(self.drift_modes)
        names = {uuid: name for uuid, name in self.names.items() if uuid in self.heads}
        actors = {uuid: self.lines[head].actor for uuid, head in self.heads.items()}
        endings = self._endings()
        return Snapshot(records, begun, endings, extent, modes, names, actors)

    def check_place(self) -> None:
        """Do nothing: lists have no path."""

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
            self.times += [at_ns if line.at_ns is None else line.at_ns for line in entries]
            self._keep(entries, instances, pushes, forgotten)
            self.names.update({uuid: name for uuid, name in names.items() if uuid in self.heads})
            self.drift_modes |= {uuid: mode for uuid, mode in drift_modes.items() if mode}
            for uuid in [uuid for uuid, mode in drift_modes.items() if mode is None]:
                self.drift_modes.pop(uuid, None)
        if error is not None:
            self._certain = error.code == "ledger-busy"
            raise error
        self.commits += 1

    def by_keys(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return the entries that were kept under these idempotency keys."""
        return {line.key: line for line in self.there if line.key in keys and line.key is not None}

    def by_age(self, uuids: Sequence[str]) -> list[str]:
        """Return domains by their newest entries: the oldest first."""
        newest = {line.uuid: n for n, line in enumerate(self.lines)}
        return sorted(uuids, key=lambda uuid: newest.get(uuid, -1))

    def record_at(self, uuid: str, revision: int) -> Record | None:
        """Return a record as it was at a revision, or None."""
        for line in reversed(self.there):
            if (line.uuid, line.revision) == (uuid, revision) and line.state is not None:
                return self._record(line)
        return None

    def prune(self, rule: Retention, now_ns: int) -> bool:
        """Drop the oldest lines that need not be kept, all at once."""
        newest, before = len(self.lines), self.pruned_to
        for line, at_ns in zip(self.lines[before:], self.times[before:], strict=True):
            age = newest - self.pruned_to - 1
            if not rule.is_over(age, at_ns, now_ns, has_key=line.key is not None):
                break
            self.pruned_to += 1
            slot = self._slot_of(line)
            lost = self.pruned_to - 1
            if slot is not None:
                lost = self.kept.pop((line.uuid, slot), -1)
                self.kept[line.uuid, slot] = self.pruned_to - 1
            self.gone.add(lost)
        for key, at in list(self.kept.items()):
            if self._slot_of(self.lines[at]) is None:
                self.gone.add(self.kept.pop(key))
        old = [row for row in self.rows[:-1] if (row.after_seq or 0) <= self.pruned_to]
        self.rows = self.rows[len(old) :] if self.pruned_to > before else self.rows
        self.dropped_rows += len(old) if self.pruned_to > before else 0
        return False

    def _slot_of(self, line: Entry) -> int | None:
        head = self.heads.get(line.uuid)
        record = None if head is None else self._record(self.lines[head])
        made = record and {record.revision, *(it.revision for it in record.components.values())}
        return slot_of(line.kind, line.revision, made, has_state=line.state is not None)

    def last_incarnation(self, uuid: str) -> int:
        """Return the last incarnation of a domain."""
        return max((life for known, life in self.instances if known == uuid), default=0)

    def close(self) -> None:
        """Do nothing: lists need no closing."""

    @property
    def there(self) -> list[Entry]:
        """The lines that were not pruned."""
        if not self.gone:
            return self.lines
        return [line for at, line in enumerate(self.lines) if at not in self.gone]

    def kinds(self, uuid: str) -> list[str]:
        """Return the kinds of a domain's entries, oldest first."""
        return [line.kind for line in self.lines if line.uuid == uuid]

    def words(self, kind: str) -> list[dict[str, object]]:
        """Return what the entries of one kind say."""
        return [json.loads(line.wish) for line in self.lines if line.kind == kind]

    def _endings(self) -> dict[str, Ending]:
        endings = {}
        rows = self.instances.values()
        builds = {row.uuid: build_from_text(row.build) for row in rows if row.ended_ns is None}
        settled = {uuid for uuid, build in builds.items() if build.has_settled}
        for uuid, head in self.heads.items():
            lives = [line for line in self.there if line.uuid == uuid]
            lives = [line for line in lives if line.kind == "instance-ended"]
            if not lives or uuid in settled:
                continue
            at = next(n for n, line in enumerate(self.lines) if line is lives[-1])
            began = max(
                (n for n, line in enumerate(self.lines)
                 if line.uuid == uuid and line.revision == 1 and line.state is not None),
            )  # fmt: skip
            ending = ending_from_json(json.loads(lives[-1].wish)) if at > began else None
            if head > at and self._record(self.lines[head]).decided:
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
            self.names.pop(uuid, None)

    @staticmethod
    @lru_cache(4096)
    def _record(line: Entry) -> Record:
        return record_from_text(line.uuid, line.revision, line.state or "{}")
