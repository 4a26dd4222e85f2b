"""Pruning: what is needed stays, the chain is proved from the anchor on, nothing else changes."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxmemd.errors import LedgerCorrupt
from maxmemd.ledger import chain, pruning
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.policy import retention
from maxmemd.policy.codec import state_to_json
from maxmemd.policy.components import MAX_MEM, Record
from maxmemd.policy.entries import Entry, Snapshot
from maxmemd.policy.retention import DAY_NS, Retention
from maxmemd.ports import Ledger
from maxmemd.units import Memory
from tests.ledger.lines import AT_NS, OTHER, UUID, entry, instance, note, opened, push, record
from tests.support.fakes import MemoryLedger
from tests.support.ledgers import new_ledger
from tests.support.soak import SOAK

LATER_NS = AT_NS + 401 * DAY_NS
ALL_OLD = Retention(days=400, entries=10**9)


@pytest.fixture(autouse=True)
def _one_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all but the newest entry be old."""
    monkeypatch.setattr(retention, "LEAST_KEPT", 1)


@pytest.fixture(params=["sqlite", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """Give an empty ledger."""
    made: Ledger = opened(tmp_path / "l.sqlite") if request.param == "sqlite" else MemoryLedger()
    yield made
    made.close()


def end(uuid: str = UUID) -> Entry:
    """Return the entry of an end that counts."""
    words = {"shutdown_reason": 1, "reboot": True, "boot": "boot-1"}
    return Entry(uuid, 1, "instance-ended", "{}", json.dumps(words), None)


def pruned(ledger: Ledger, rule: Retention = ALL_OLD, now_ns: int = LATER_NS) -> None:
    """Prune until nothing is left to prune."""
    while ledger.prune(rule, now_ns):
        pass


def test_a_record_and_its_end_outlast_the_rest(ledger: Ledger) -> None:
    """After all else is pruned the state is as it was; past revisions are gone."""
    ledger.commit(AT_NS, [entry(1), entry(2), entry(3), end(), note(3)], names={UUID: "web"})
    ledger.commit(AT_NS, [entry(1, OTHER), *(note(1, OTHER) for _ in range(9))], pushes=[push(1)])
    before = ledger.load()
    pruned(ledger)
    assert ledger.load() == before
    assert ledger.load().endings[UUID].is_restart
    assert [ledger.record_at(UUID, n) for n in (1, 2, 3)] == [record(1), None, record(3)]


def test_the_newest_push_stays(ledger: Ledger) -> None:
    """So that the number of the next one is new."""
    ledger.commit(AT_NS, [entry(1)], pushes=[push(1)._replace(after_seq=0) for _ in range(5)])
    ledger.commit(AT_NS, [note(1), note(1)])
    extent = ledger.load().extent
    pruned(ledger)
    assert ledger.load().extent == extent == (3, 5)
    ledger.commit(AT_NS, [], pushes=[push(2)])
    assert ledger.load().extent == (3, 6)


def test_young_entries_are_kept_unless_there_are_too_many(ledger: Ledger) -> None:
    """The days count, and where there are more entries than may be, their number."""
    ledger.commit(AT_NS, [entry(n) for n in range(1, 8)])
    pruned(ledger, now_ns=AT_NS + 399 * DAY_NS)
    assert ledger.record_at(UUID, 2) == record(2)
    pruned(ledger, Retention(days=400, entries=3), AT_NS + DAY_NS)
    found = [ledger.record_at(UUID, n) for n in range(1, 8)]
    assert found == [record(1), None, None, None, record(5), record(6), record(7)]


def test_a_key_is_kept_for_its_hour(ledger: Ledger) -> None:
    """However many entries came since: a client may still repeat its request."""
    ledger.commit(AT_NS, [entry(1), entry(2, key="0:a"), *(entry(n) for n in range(3, 9))])
    rule = Retention(days=400, entries=1)
    pruned(ledger, rule, AT_NS + retention.KEYS_KEPT_NS - 1)
    assert ledger.by_keys(["0:a"]) == {"0:a": entry(2, key="0:a")}
    pruned(ledger, rule, AT_NS + retention.KEYS_KEPT_NS)
    assert ledger.by_keys(["0:a"]) == {}


def test_what_a_record_follows_from_goes_once_it_is_forgotten(ledger: Ledger) -> None:
    """Kept entries are kept for the record's sake."""
    ledger.commit(AT_NS, [entry(1), entry(2), end(), *(note(1, OTHER) for _ in range(5))])
    pruned(ledger)
    assert ledger.record_at(UUID, 2) == record(2)
    ledger.commit(LATER_NS, [note(2)], forgotten=[UUID])
    ledger.commit(LATER_NS, [note(1, OTHER) for _ in range(5)])
    pruned(ledger, now_ns=LATER_NS + 401 * DAY_NS)
    assert (ledger.record_at(UUID, 2), ledger.load().endings) == (None, {})


def test_nothing_is_known_of_a_uuid_whose_history_is_pruned(tmp_path: Path) -> None:
    """Its row goes with its newest entry, and its lives are counted from 1 again."""
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    ledger.commit(
        AT_NS, [note(0), note(0, OTHER)], instances=[instance(3), instance(2, uuid=OTHER)]
    )
    ledger.commit(AT_NS, [note(0)], instances=[instance(3, ended_ns=AT_NS)])
    ledger.commit(AT_NS, [note(0, OTHER)])
    pruned(ledger)
    assert [ledger.last_incarnation(uuid) for uuid in (UUID, OTHER)] == [0, 2]
    ledger.close()


def history_of(path: Path) -> list[int]:
    """Return the numbers of the entries that are there."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return [seq for (seq,) in connection.execute("SELECT seq FROM history ORDER BY seq")]


def test_the_chain_is_proved_from_the_anchor(tmp_path: Path) -> None:
    """The reader says from where, how much is gone, and by what rule."""
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    ledger.commit(AT_NS, [entry(n) for n in range(1, 10)])
    assert str(LedgerReader(path).anchor()) == "from its first entry on"
    pruned(ledger, Retention(days=400, entries=4), AT_NS + DAY_NS)
    ledger.close()
    assert history_of(path) == [1, 6, 7, 8, 9]
    assert LedgerReader(path).check() == 9
    assert str(LedgerReader(path).anchor()) == (
        "from entry 6 on (4 older ones were pruned: kept are 400 days and at most 4 entries)"
    )


DAMAGE = {
    "UPDATE history SET wish = 'x' WHERE seq = 1": "entry 1 is not as it was written",
    "UPDATE history SET wish = 'x' WHERE seq = 6": "entry 6 is not as it was written",
    "DELETE FROM history WHERE seq = 6": "entry 6 is missing",
    "DELETE FROM history WHERE seq = 8": "entry 8 is missing",
    "UPDATE history SET prior = 6 WHERE seq = 8": "entry 8 follows entry 7",
    "UPDATE history SET prior = 9 WHERE seq = 8": "entry 8",
    "DELETE FROM kept WHERE seq = 2": "an entry that was kept .* is missing",
    "DELETE FROM history WHERE seq = 2": "an entry that was kept .* is missing",
    "INSERT INTO history SELECT 3, at_ns, uuid, revision, kind, actor, wish, state, NULL, hash, 0"
    " FROM history WHERE seq = 8": "an entry that was kept .* is missing",
    "UPDATE pruned SET seq = 4": "what was pruned is not as it was written",
    "UPDATE pruned SET hash = zeroblob(32)": "what was pruned is not as it was written",
    "UPDATE pruned SET about = replace(about, '400', '500')": "what was pruned is not as it was",
    "UPDATE record SET newest = 8 WHERE newest = 9": "does not name its domain's entry before it",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("stride", [1, 100])
def test_damage_beside_the_anchor_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, stride: int
) -> None:
    """The check finds it; what a start depends on is found by the start as well."""
    monkeypatch.setattr("maxmemd.ledger.reader.STRIDE", stride)
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    ledger.commit(AT_NS, [entry(1), entry(1, OTHER), *(entry(n) for n in range(2, 9))])
    pruned(ledger, Retention(days=400, entries=4), AT_NS + DAY_NS)
    ledger.close()
    assert history_of(path) == [1, 2, 6, 7, 8, 9]
    assert LedgerReader(path).check() == 9
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(damage)
        connection.commit()
    with pytest.raises(LedgerCorrupt, match=DAMAGE[damage]):
        LedgerReader(path).check()


def test_what_is_damaged_is_not_pruned(tmp_path: Path) -> None:
    """The evidence stays, and so does the anchor."""
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    ledger.commit(AT_NS, [entry(n) for n in range(1, 10)])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE history SET wish = 'x' WHERE seq = 3")
        connection.commit()
    with pytest.raises(LedgerCorrupt, match="entry 3 is not as it was written"):
        pruned(ledger)
    ledger.close()
    assert len(history_of(path)) == 9
    assert LedgerReader(path).anchor().seq == 0


def test_links_of_more_domains_than_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong link is found where the domain's entry before is long forgotten, too."""
    monkeypatch.setattr(chain, "MOST_KNOWN", 2)
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    uuids = [f"51a70000-0000-4000-8000-{n:012x}" for n in range(9)]
    for revision in (1, 2, 3):
        ledger.commit(AT_NS, [entry(revision, uuid) for uuid in uuids])
    ledger.close()
    assert LedgerReader(path).check() == 27
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE history SET prior = 1 WHERE seq = 19")
        connection.commit()
    with pytest.raises(LedgerCorrupt, match="does not name its domain's entry before it"):
        LedgerReader(path).check()


def test_pruning_during_a_check(tmp_path: Path) -> None:
    """A check that another program makes meanwhile begins again, and finds all whole."""
    path = tmp_path / "l.sqlite"
    ledger, check = opened(path), chain.ChainCheck()
    ledger.commit(AT_NS, [entry(n) for n in range(1, 10)])
    engine = LedgerReader(path)._engine
    for entries in (8, 6, 3, 2):
        for _ in range(3):
            with engine.begin() as connection:
                assert not check.stride(connection, 1)
        pruned(ledger, Retention(days=400, entries=entries), AT_NS + DAY_NS)
    is_done = False
    while not is_done:
        with engine.begin() as connection:
            is_done = check.stride(connection, 1)
    assert check.seen == 9
    ledger.close()


def test_the_file_does_not_grow_while_as_much_is_pruned_as_is_written(tmp_path: Path) -> None:
    """Pages of what was deleted are used again."""
    path = tmp_path / "l.sqlite"
    ledger, rule, sizes, seq = opened(path), Retention(days=400, entries=2000), [], 0
    for _ in range(4):
        for _ in range(10):
            rows = [entry(seq + n) for n in range(1, 201)]
            seq += 200
            ledger.commit(AT_NS, rows, pushes=[push(n) for n in range(200)])
            pruned(ledger, rule, AT_NS + DAY_NS)
        ledger.reopen()
        sizes.append(path.stat().st_size)
    ledger.close()
    assert sizes[-1] <= sizes[1] * 1.1, sizes


# A history, and a twin that is never pruned --------------------------------------------------

UUIDS = [f"51a70000-0000-4000-8000-{n:012x}" for n in range(3)]
STEP = st.tuples(st.sampled_from(["decide", "note", "begin", "end", "forget"]), st.integers(0, 2))
POINTS = st.lists(st.tuples(STEP, st.one_of(st.none(), st.integers(1, 9))), max_size=25)


class Twins:
    """Two ledgers with the same history, of which one is pruned."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "pruned.sqlite"
        paths = self.path, folder / "whole.sqlite"
        self.ledgers = [SqliteLedger(new_ledger(path)) for path in paths]
        for ledger in self.ledgers:
            ledger.load()
        self.records: dict[str, Record] = {}
        self.lives = dict.fromkeys(UUIDS, 0)
        self.ended: set[str] = set()
        """The domains that ended since their record began: an end of before goes with its time."""
        self.seq = 0

    def step(self, kind: str, uuid: str) -> None:
        """Write one commit into both."""
        record, life = self.records.get(uuid), self.lives[uuid]
        revision = 0 if record is None else record.revision
        entries, rows, forgotten = [note(revision, uuid)], [], []
        if kind == "decide":
            self.ended -= set() if record else {uuid}
            made = record or Record(uuid, 0, {})
            amounts = {MAX_MEM if self.seq % 2 else ("device-model", "rom"): Memory(kib=self.seq)}
            made = made.with_amounts(amounts)
            self.records[uuid] = made
            text = json.dumps(state_to_json(made), separators=(",", ":"))
            key = f"0:{self.seq}"
            entries = [Entry(uuid, made.revision, "component-set", "{}", "{}", text, key)]
        elif kind == "begin":
            self.lives[uuid] = life + 1
            rows = [instance(life + 1, uuid=uuid)]
        elif kind == "end" and life:
            entries, rows = [end(uuid)], [instance(life, uuid=uuid, ended_ns=AT_NS)]
            self.ended.add(uuid)
        elif kind == "forget" and record is not None:
            del self.records[uuid]
            forgotten = [uuid]
        self.seq += len(entries)
        for each in self.ledgers:
            each.commit(AT_NS + self.seq, entries, instances=rows, forgotten=forgotten)

    def agree(self) -> None:
        """Demand that a start finds the same in both, and that the pruned one is whole."""
        one, other = self.ledgers
        found, wanted = one.load(), other.load()
        assert _sorted(found) == _sorted(wanted)
        for uuid in self.ended:
            assert found.endings.get(uuid) == wanted.endings.get(uuid)
        for uuid, made in self.records.items():
            needed = {1, made.revision, *(part.revision for part in made.components.values())}
            for revision in range(1, made.revision + 1):
                past = one.record_at(uuid, revision)
                assert past in (None, other.record_at(uuid, revision))
                assert past is not None or revision not in needed
        reader = LedgerReader(self.path)
        assert reader.check() == self.seq
        for uuid, made in self.records.items():
            revisions = sorted({part.revision for part in made.components.values()})
            entries = reader.made_by(uuid, revisions, self.seq)
            assert sorted(entries) == revisions
        history_of(self.path)

    def close(self) -> None:
        """Close both."""
        for each in self.ledgers:
            each.close()


def _sorted(found: Snapshot) -> tuple[object, ...]:
    records = sorted(found.records, key=lambda each: each.uuid)
    rows = sorted(found.instances, key=lambda each: (each.uuid, each.incarnation))
    return records, rows, found.extent, found.names, found.actors


@settings(max_examples=300 if SOAK else 12, deadline=None)
@given(points=POINTS, stride=st.sampled_from([1, 2, 5, 500]))
def test_pruning_at_any_point(
    points: list[tuple[tuple[str, int], int | None]], stride: int
) -> None:
    """Whenever a stride is made, a start, the chain, rollbacks and ends are as without it."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruning, "STRIDE", stride)
        patch.setattr(retention, "LEAST_KEPT", 1)
        twins = Twins(Path(folder))
        for (kind, number), entries in points:
            twins.step(kind, UUIDS[number])
            if entries is not None:
                twins.ledgers[0].prune(Retention(400, entries), AT_NS + DAY_NS)
                twins.agree()
        pruned(twins.ledgers[0], Retention(400, 1), AT_NS + DAY_NS)
        twins.agree()
        twins.ledgers[0].close()
        twins.ledgers[0] = SqliteLedger(twins.path)
        twins.agree()
        twins.close()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_death_at_any_point_of_a_stride(tmp_path: Path) -> None:
    """The stride is made or it is not; the next one goes on, and nothing that is needed is lost."""
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    ledger.commit(AT_NS, [entry(1), entry(1, OTHER), end(OTHER), *(entry(n) for n in range(2, 30))],
                  pushes=[push(1)._replace(after_seq=0) for _ in range(9)])  # fmt: skip
    ledger.commit(AT_NS, [note(1, OTHER)], forgotten=[OTHER])
    pruned(ledger, Retention(400, 25), AT_NS + DAY_NS)  # there are kept entries before it
    before = ledger.load()
    ledger.close()
    whole, anchors = path.read_bytes(), []
    status, number = -signal.SIGKILL, 1
    while status == -signal.SIGKILL:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
        path.write_bytes(whole)
        command = [sys.executable, "-m", "tests.ledger.dying", str(path), str(number), "5"]
        status = subprocess.run(command, check=False).returncode
        ledger = SqliteLedger(path)
        assert ledger.load() == before
        anchors.append(LedgerReader(path).anchor().seq)
        assert LedgerReader(path).check() == 32
        pruned(ledger, Retention(400, 5), AT_NS + DAY_NS)
        assert ledger.load() == before
        assert LedgerReader(path).check() == 32
        assert LedgerReader(path).anchor().seq == 27
        ledger.close()
        number += 1 if SOAK else 4
    assert anchors == sorted(anchors)
    assert (status, anchors[0], anchors[-1], set(anchors)) == (0, 7, 27, {7, 27})
    assert number > 10  # statements of a stride
