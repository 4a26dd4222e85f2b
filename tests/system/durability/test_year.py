"""A year of decisions, played into a ledger that is pruned: nothing grows with the years."""

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import pytest

from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.policy.codec import state_to_json
from maxmemd.policy.components import MAX_MEM, Record
from maxmemd.policy.entries import Entry, InstanceRow
from maxmemd.policy.retention import DAY_NS, Retention
from maxmemd.units import Memory
from tests.ledger.lines import AT_NS, instance, note, opened, push
from tests.ledger.work import steps_of_read, steps_of_write
from tests.support.figures import figure
from tests.support.soak import SOAK

DECISIONS = 31_000_000 if SOAK else 24_000
"""One a second, or as many as a short run has time for."""
KEPT_DAYS = 10 if SOAK else 30
DOMAINS, AT_ONCE = 50, 500
DM = ("device-model", "rom")


class Year:
    """A host whose domains are decided on all year, and one of which ends at each commit."""

    def __init__(self, path: Path) -> None:
        self.path, self.ledger = path, opened(path)
        self.records = [Record(_uuid(number), 0, {}) for number in range(DOMAINS)]
        self.seq, self.short_lived = 0, DOMAINS
        self._write(self._first())

    def _first(self) -> list[Entry]:
        """Give each domain a component that is never changed again."""
        return [self._decided(number, {DM: Memory(kib=4)}) for number in range(DOMAINS)]

    def play(self, share: float) -> None:
        """Write so much of a year's decisions."""
        until = self.seq + int(DECISIONS * share)
        while self.seq < until:
            entries = [
                self._decided((self.seq + n) % DOMAINS, {MAX_MEM: Memory(kib=4 * (self.seq + n))})
                for n in range(AT_ONCE)
            ]
            self._write(entries)

    def _write(self, entries: list[Entry]) -> None:
        """Commit decisions, and a domain that came and went; prune what is old."""
        uuid = _uuid(self.short_lived)
        self.short_lived += 1
        now_ns = AT_NS + self.seq * 366 * DAY_NS // DECISIONS
        begun = Record(uuid, 0, {}).with_amounts({MAX_MEM: Memory(kib=4)})
        self._commit(now_ns, [*entries, note(0, uuid), _entry(begun)], instance(1, uuid=uuid))
        ended = instance(1, uuid=uuid, ended_ns=now_ns)
        self._commit(now_ns, [note(1, uuid)], ended, forgotten=[uuid])
        while self.ledger.prune(Retention(KEPT_DAYS, 10**9), now_ns):
            pass

    def _commit(
        self,
        now_ns: int,
        entries: list[Entry],
        row: InstanceRow,
        forgotten: list[str] | None = None,
    ) -> None:
        pushes = [push(1)._replace(after_seq=self.seq) for _ in entries]
        self.ledger.commit(
            now_ns, entries, instances=[row], pushes=pushes, forgotten=forgotten or []
        )
        self.seq += len(entries)

    def _decided(self, number: int, amounts: dict[tuple[str, str], Memory]) -> Entry:
        record = self.records[number].with_amounts(amounts)
        self.records[number] = record
        return _entry(record)


def _uuid(number: int) -> str:
    return f"51a70000-0000-4000-8000-{number:012x}"


def _entry(record: Record) -> Entry:
    state = json.dumps(state_to_json(record), separators=(",", ":"))
    return Entry(record.uuid, record.revision, "component-set", "{}", "{}", state)


class Costs(NamedTuple):
    """What a ledger costs: its size, and SQLite's steps for what is done with it."""

    size_mib: float
    start: int
    explain: int
    history: int


def costs_of(year: Year, monkeypatch: pytest.MonkeyPatch) -> Costs:
    """Measure, and demand that what is explained is what was decided."""
    year.ledger.reopen()
    start = steps_of_write(year.ledger._connection, year.ledger.load)
    reader, record = LedgerReader(year.path), year.records[7]
    revisions = sorted({part.revision for part in record.components.values()})
    explain = steps_of_read(
        monkeypatch, lambda until: reader.made_by(record.uuid, revisions, year.seq, until)
    )
    history = steps_of_read(
        monkeypatch, lambda until: reader.history(record.uuid, _nothing, limit=50, until=until)
    )
    assert sorted(reader.made_by(record.uuid, revisions, year.seq)) == revisions
    return Costs(year.path.stat().st_size / 2**20, start, explain, history)


def _nothing(_: object) -> bytes:
    return b"{}"


@pytest.fixture
def year(tmp_path: Path) -> Iterator[Year]:
    """Give a year that has just begun."""
    made = Year(tmp_path / "l.sqlite")
    yield made
    made.ledger.close()


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_a_year_in_minutes(year: Year, monkeypatch: pytest.MonkeyPatch) -> None:
    """Size, start, explain and history are at the year's end what they were in its first half."""
    began_s = perf_counter()
    year.play(0.25)
    first = costs_of(year, monkeypatch)
    year.play(0.25)
    second = costs_of(year, monkeypatch)
    year.play(0.5)
    last = costs_of(year, monkeypatch)
    took_s = perf_counter() - began_s
    for name, early, late in zip(Costs._fields, map(max, first, second), last, strict=True):
        assert late <= 1.25 * early + 200 * (name in ("explain", "history")), (name, early, late)
    began_s = perf_counter()
    SqliteLedger(year.path).load()
    start_s = perf_counter() - began_s
    reader = LedgerReader(year.path)
    assert reader.check() == year.seq
    anchor = reader.anchor()
    assert anchor.seq > year.seq * 0.8
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    figure("a year", f"{year.seq} entries in {took_s:.0f} s, kept {KEPT_DAYS} days", last)
    figure("a year", "start, and this process at most", f"{start_s:.2f} s, {memory_mib} MiB")
    figure("a year", "the chain is proved", anchor)
