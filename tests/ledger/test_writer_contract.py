"""What any Ledger keeps: the same tests on SQLite and on the ledger in memory."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from maxmemd.policy.codec import ending_to_json
from maxmemd.policy.drift import DriftMode, Instant, SetMode
from maxmemd.policy.endings import CRASH, REBOOT, UNSEEN, Ending
from maxmemd.policy.entries import Entry, Snapshot
from maxmemd.ports import Ledger
from maxmemd.units import Memory
from tests.ledger.lines import (
    AT_NS,
    BUILD,
    OTHER,
    UUID,
    entry,
    instance,
    note,
    opened,
    push,
    record,
)
from tests.support.fakes import MemoryLedger


@pytest.fixture(params=["sqlite", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """Give an empty ledger."""
    made: Ledger = opened(tmp_path / "l.sqlite") if request.param == "sqlite" else MemoryLedger()
    yield made
    made.close()


def test_an_empty_ledger(ledger: Ledger) -> None:
    """A new ledger keeps nothing."""
    assert ledger.load() == Snapshot((), (), {}, (0, 0))
    assert ledger.by_keys(["0:a"]) == {}
    assert ledger.record_at(UUID, 1) is None


def test_the_newest_revision_is_the_record(ledger: Ledger) -> None:
    """A record is what its newest line with a state says; notes change nothing."""
    ledger.commit(AT_NS, [entry(1), entry(2), note(2), entry(1, OTHER)])
    ledger.commit(AT_NS, [entry(3), note(3)])
    kept = ledger.load()
    assert {r.uuid: r for r in kept.records} == {UUID: record(3), OTHER: record(1, OTHER)}


def test_every_revision_can_be_had(ledger: Ledger) -> None:
    """Each past revision of a record reads as it was; another domain's is not it."""
    ledger.commit(AT_NS, [entry(1), entry(2), note(2)])
    assert [ledger.record_at(UUID, n) for n in (1, 2, 3)] == [record(1), record(2), None]
    assert ledger.record_at(OTHER, 1) is None


def test_a_forgotten_record_is_gone(ledger: Ledger) -> None:
    """A forgotten record is no more loaded; one that begins again is the one that is meant."""
    ledger.commit(AT_NS, [entry(1), entry(2)])
    ledger.commit(AT_NS, [note(2)], forgotten=[UUID])
    assert ledger.load().records == ()
    again = entry(1)
    again = type(again)(again.uuid, 1, "adopted", "{}", "{}", entry(9).state)
    ledger.commit(AT_NS, [again])
    assert ledger.load().records[0].limit == record(9).limit
    past = ledger.record_at(UUID, 1)
    assert past is not None
    assert past.limit == record(9).limit


def test_idempotency_keys_are_found(ledger: Ledger) -> None:
    """A line is found under its key, and only under its key."""
    ledger.commit(AT_NS, [entry(1, key="0:a"), entry(2), entry(3, key="0:b")])
    assert ledger.by_keys(["0:a", "0:c"]) == {"0:a": entry(1, key="0:a")}


def test_open_instances_come_back(ledger: Ledger) -> None:
    """Instances that have not ended are loaded as last written; ended ones count on."""
    ledger.commit(AT_NS, [], instances=[instance(1), instance(2), instance(1, uuid=OTHER)])
    ledger.commit(AT_NS, [], instances=[instance(1, ended_ns=AT_NS)])
    kept = ledger.load()
    assert set(kept.instances) == {instance(2), instance(1, uuid=OTHER)}
    assert [ledger.last_incarnation(uuid) for uuid in (UUID, OTHER, "none")] == [2, 1, 0]


def test_a_birth_comes_back(ledger: Ledger) -> None:
    """What is kept of how an instance came to be is as last written, with effects or without."""
    whole = instance(1)._replace(build=BUILD)
    alone = instance(2)._replace(build=BUILD, effects=None)
    ledger.commit(AT_NS, [], instances=[whole, alone])
    assert set(ledger.load().instances) == {whole, alone}
    ledger.commit(AT_NS, [], instances=[instance(1)])
    assert set(ledger.load().instances) == {instance(1), alone}


def test_how_the_last_instances_ended(ledger: Ledger) -> None:
    """The newest end of one that ran counts; a record must be there, and a reason."""
    rebooted = Ending(REBOOT, "boot-1")

    def line(kind: str, uuid: str = UUID, **words: object) -> Entry:
        return Entry(uuid, 1, kind, "{}", json.dumps(words), None)

    ended = line("instance-ended", reboot=True, boot="boot-1")
    ledger.commit(AT_NS, [entry(1), line("instance-ended", OTHER, reboot=True, boot="boot-1")])
    assert ledger.load().endings == {}
    ledger.commit(AT_NS, [ended, line("instance-began", building=True), note(1)])
    assert ledger.load().endings == {UUID: rebooted}
    never_ran = ending_to_json(rebooted, never_ran=True)
    ledger.commit(AT_NS, [line("build-announced", life="created")])
    assert ledger.load().endings == {UUID: rebooted}
    ledger.commit(AT_NS, [line("instance-ended", **never_ran)])
    assert ledger.load().endings == {UUID: rebooted}
    ahead = UNSEEN._replace(decided_ahead=True)
    ledger.commit(AT_NS, [line("instance-ended", **ending_to_json(ahead, never_ran=True))])
    assert ledger.load().endings == {UUID: ahead}
    ledger.commit(AT_NS, [line("instance-ended", **ending_to_json(UNSEEN, never_ran=True))])
    assert ledger.load().endings == {}
    ledger.commit(AT_NS, [ended, line("instance-ended", domid=7), entry(1, OTHER)])
    assert ledger.load().endings == {OTHER: ahead}, "it ended before the record began"
    ledger.commit(AT_NS, [line("instance-ended", OTHER, reboot=True, boot="boot-1")])
    ledger.commit(AT_NS, [entry(2, OTHER)])
    decided = {OTHER: rebooted._replace(decided_ahead=True)}
    assert ledger.load().endings == decided
    ledger.commit(AT_NS, [note(2, OTHER)] * 500)
    assert ledger.load().endings == decided
    ledger.commit(AT_NS, [entry(revision, OTHER) for revision in range(3, 60)])
    assert ledger.load().endings == decided
    crashed = Ending(CRASH, "boot-2", Memory(kib=64))
    ledger.commit(AT_NS, [line("instance-ended", **ending_to_json(crashed))])
    assert ledger.load().endings == {**decided, UUID: crashed}
    ledger.commit(AT_NS, [], instances=[instance(7)._replace(build=BUILD)])
    assert ledger.load().endings == {**decided, UUID: crashed}, "of one that is not understood yet"
    ledger.commit(AT_NS, [], instances=[instance(7)])
    assert ledger.load().endings == decided, "the next one is understood"


def test_pushes_are_kept_without_lines(ledger: Ledger) -> None:
    """A commit may consist of pushes alone, or of nothing."""
    ledger.commit(AT_NS, [], pushes=[push(1), push(1, errno=1)])
    ledger.commit(AT_NS, [])
    assert ledger.load().records == ()


def test_reopening_loses_nothing(ledger: Ledger) -> None:
    """After reopen and load everything is as it was, and more can be written."""
    ledger.commit(AT_NS, [entry(1)])
    ledger.reopen()
    assert ledger.load().records == (record(1),)
    ledger.commit(AT_NS, [entry(2)])
    assert ledger.load().records == (record(2),)


def test_modes_of_drift_are_kept_until_they_are_taken_back(ledger: Ledger) -> None:
    """The last mode of each domain is loaded as it was set, with an end or without."""
    since = Instant("boot-1", 12.5, AT_NS)
    first = SetMode(DriftMode.ADOPT, 60.0, since, AT_NS, '{"name":"a"}', "why")
    last = first._replace(mode=DriftMode.ALERT, left_s=None)
    ledger.commit(AT_NS, [entry(1)], drift_modes={UUID: first, OTHER: first})
    assert ledger.load().drift_modes == {UUID: first, OTHER: first}
    ledger.commit(AT_NS, [], drift_modes={UUID: last, OTHER: None})
    assert ledger.load().drift_modes == {UUID: last}


def test_a_fight_is_kept_with_its_instance(ledger: Ledger) -> None:
    """When it began is loaded, and once it ended nothing is."""
    began = instance(1)._replace(fight_ns=7)
    ledger.commit(AT_NS, [entry(1)], instances=[began])
    assert [row.fight_ns for row in ledger.load().instances] == [7]
    ledger.commit(AT_NS, [], instances=[began._replace(fight_ns=None)])
    assert [row.fight_ns for row in ledger.load().instances] == [None]
