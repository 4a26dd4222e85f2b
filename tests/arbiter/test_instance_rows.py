"""A row of the ledger has all of an instance that a restart needs."""

import pytest

from maxmemd.arbiter.instance import NO_WRITES, Instance
from maxmemd.arbiter.instance_rows import instance_of, row_of
from maxmemd.policy.fights import ForeignWrites
from maxmemd.policy.states import BuildPhase, PushState
from maxmemd.policy.verdicts import Effects
from maxmemd.units import Memory

UUID = "51a70000-0000-4000-8000-00000000000a"
FIGHT_NS = 43


def full_instance(phase: BuildPhase, writes: ForeignWrites) -> Instance:
    """Return an instance of which everything is another value than by default."""
    return Instance(
        UUID, 7, 3, "boot-1", 41, build_phase=phase, push_state=PushState.FAILED,
        settled_revision=5, effects=Effects(target=Memory(kib=4)), drift_pages=0,
        wanted_pages=512, toolstack_pages=640, build_pages=768, is_newcomer=True, writes=writes,
    )  # fmt: skip


@pytest.mark.parametrize("phase", BuildPhase)
def test_an_instance_is_taken_up_as_its_row_has_it(phase: BuildPhase) -> None:
    """What is known of a build counts until it is settled; limits by name are decided after it."""
    again = instance_of(row_of(full_instance(phase, ForeignWrites(since_ns=FIGHT_NS))))
    is_settled = phase is BuildPhase.SETTLED
    assert (again.uuid, again.domid, again.incarnation) == (UUID, 7, 3)
    assert (again.boot, again.began_ns, again.settled_revision) == ("boot-1", 41, 5)
    assert (again.build_phase, again.push_state) == (phase, PushState.FAILED)
    assert (again.effects, again.drift_pages) == (Effects(target=Memory(kib=4)), 0)
    assert again.building is not is_settled
    assert again.wanted_pages == (0 if is_settled else 512)
    assert again.toolstack_pages == (None if is_settled else 640)
    assert again.build_pages == (None if is_settled else 768)
    assert again.is_newcomer


@pytest.mark.parametrize("phase", BuildPhase)
@pytest.mark.parametrize("writes", [NO_WRITES, ForeignWrites(since_ns=FIGHT_NS)])
def test_the_row_of_what_was_taken_up_is_the_same(phase: BuildPhase, writes: ForeignWrites) -> None:
    """Nothing is lost by a second restart, and an end is added where there is one."""
    row = row_of(full_instance(phase, writes))
    again = instance_of(row)
    assert row_of(again) == row
    assert (row.ended_ns, row_of(again, ended_ns=42)) == (None, row._replace(ended_ns=42))


def test_a_fight_goes_on_after_a_restart_and_no_fight_is_none() -> None:
    """The writes that it began with are not known any more."""
    with_fight, without = (
        instance_of(row_of(full_instance(BuildPhase.SETTLED, writes)))
        for writes in (ForeignWrites(times_s=(1.0,), since_ns=FIGHT_NS, count=5), NO_WRITES)
    )
    assert with_fight.writes == ForeignWrites(since_ns=FIGHT_NS)
    assert without.writes is NO_WRITES


def test_what_is_given_stands_in_place_of_its_own() -> None:
    """A decision is committed with the effects and the build that it leads to."""
    instance = full_instance(BuildPhase.FOLLOWING, NO_WRITES)
    build = instance.build_in(BuildPhase.SETTLED)
    row = row_of(instance, effects=Effects(target=Memory(kib=8)), build=build)
    again = instance_of(row)
    assert again.effects == Effects(target=Memory(kib=8))
    assert again.build_phase is BuildPhase.SETTLED
