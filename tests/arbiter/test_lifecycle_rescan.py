"""One look at the host: what it concludes of each domain, before any poll settles it."""

import json
from errno import EIO, EPERM

import pytest

from maxmemd.arbiter.messages import DomainView, LookAtDomain
from maxmemd.policy.components import MAX_MEM
from maxmemd.policy.states import BuildPhase
from maxmemd.policy.wishes import CREATED, Build, SetMaxMem
from maxmemd.xen.simulated import finish
from tests.support.seat import MIB, WEB_UUID, Seat, mib, web_of

POWEROFF, SUSPEND = 0, 2
FRESH = {"operator/max-mem": 64 * MIB, "toolstack/slack": MIB}


@pytest.fixture
def seat() -> Seat:
    """Return a seat that knows web, domain 1: 96 MiB, and nothing more."""
    made = Seat().restart()
    finish(made.host.building(web_of(64, 128)))
    made.poll()
    made.grant(1, SetMaxMem(mib(96)))
    return made


def rescan(seat: Seat) -> None:
    """Look at the host once, and settle nothing."""
    seat.arbiter.lifecycle.rescan(seat.host.machine.domains())


def announced(seat: Seat) -> int:
    """Begin to build web once more, with 64 MiB, and announce it; return the domid."""
    domid = next(seat.host.building(web_of(64, 128))).domid
    seat.poll()
    seat.grant(domid, Build(mib(64), CREATED, static_max=mib(128)))
    return domid


def test_what_was_taken_from_xen_is_in_force_at_once() -> None:
    """An adopted record needs no push and no poll: Xen holds it, in the revision it made."""
    seat = Seat().restart()
    finish(seat.host.building(web_of(64, 128)))
    rescan(seat)
    web = seat.instance(1)
    assert (web.push_state, web.settled_revision, web.wanted_pages) == ("applied", 1, 65 * 256)
    seat.arbiter.flush()
    row = seat.memory.instances[WEB_UUID, 1]
    assert (row.push_state, row.settled_revision) == ("applied", 1)


def test_what_is_in_force_stays_so_when_its_build_is_understood(seat: Seat) -> None:
    """A rebuilt domain was raised to its limit while it was built: nothing is put off."""
    life = seat.host.building(web_of(96, 96))
    seat.host.destroy(1)
    for step in life:
        seat.poll()
        if step.name == "device-model":
            break
    web = seat.instance(step.domid)
    assert (web.build_phase, web.push_state) == (BuildPhase.UNDECIDED, "applied")
    finish(life)
    rescan(seat)
    assert (web.build_phase, web.push_state) == (BuildPhase.SETTLED, "applied")


def test_what_is_followed_is_in_the_history_with_its_numbers() -> None:
    """Each revision says which maximum it was taken from, and whether it still was built."""
    seat = Seat().restart()
    life = seat.host.building(web_of(64, 128))
    while next(life).name != "limited":
        pass
    seat.poll()
    seat.host.foreign_write(1, mib(70))
    seat.poll()
    finish(life)
    seat.poll()
    told = [
        {name: value for name, value in json.loads(line.wish).items() if name != "reason"}
        for line in seat.memory.lines
        if line.kind == "build-followed"
    ]
    assert told == [
        {"max_pages": 70 * 256, "building": True},
        {"max_pages": 70 * 256, "building": False},
    ]


def test_two_halves_that_are_found_together_are_adopted_once() -> None:
    """The second goes on with the record that the same look made of the first."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(64), maxmem=mib(128))
    for step in seat.host.migrating(web):
        if step.name == "populated":
            break
    seat.restart()
    assert seat.kinds(web).count("adopted") == 1
    assert seat.record(web).revision == 1


def test_a_reboot_is_over_when_the_next_life_runs(seat: Seat) -> None:
    """Also where no toolstack announces it: what is created after that is made afresh."""
    life = seat.host.rebooting(1)
    for _ in life:
        seat.poll()
    seat.poll()
    seat.host.destroy(2)
    seat.poll()
    assert seat.amounts(announced(seat)) == FRESH


def test_a_reboot_is_over_when_the_next_life_is_announced(seat: Seat) -> None:
    """A rebuild that ends before it ran was the reboot: the domain after it is made afresh."""
    for step in seat.host.rebooting(1):
        seat.poll()
        if step.name == "released":
            break
    born = announced(seat)
    assert seat.record(born).amount(MAX_MEM) == mib(96)
    seat.host.destroy(born)
    seat.poll()
    assert seat.amounts(announced(seat)) == FRESH


@pytest.mark.parametrize("reason", [POWEROFF, SUSPEND])
def test_a_shutdown_for_another_reason_is_no_reboot(seat: Seat, reason: int) -> None:
    """Whoever creates the domain after it makes it afresh."""
    seat.host.shutdown(1, reason)
    seat.poll()
    seat.host.destroy(1)
    seat.poll()
    assert seat.amounts(announced(seat)) == FRESH


def test_the_reason_of_a_shutdown_counts_only_after_one(seat: Seat) -> None:
    """Xen's number is meaningless before."""
    facts = [
        fact._replace(shutdown_reason=1) if fact.domid == 1 else fact
        for fact in seat.host.machine.domains()
    ]
    seat.arbiter.lifecycle.rescan(facts)
    assert len(seat.arbiter.lifecycle.endings) == 0


def test_a_build_that_ends_early_leaves_the_debt_of_the_life_before(seat: Seat) -> None:
    """It owed nothing itself: the next life is owed what the last that ran was."""
    seat.host.fail("write", EIO)
    seat.grant(1, SetMaxMem(mib(100)))
    seat.host.heal()
    image = seat.host.save(1)
    seat.poll()
    life = seat.host.building(image.config, image=image)
    domid = next(life).domid
    seat.poll()
    seat.host.destroy(domid)
    seat.poll()
    born = seat.host.restore(image)
    seat.poll()
    seat.poll(after_s=70.0)
    assert seat.host.nodes.facts(born).static_max == mib(100)
    assert seat.memory.words("record-replaced") == []


@pytest.mark.parametrize("ref", ["1", "web"])
def test_while_xenstore_is_away_a_domain_keeps_the_name_that_it_had(seat: Seat, ref: str) -> None:
    """It is found by that name, with no look at all others, and shown by it."""
    seat.host.set_xenstore_away(away=True)
    seat.host.fail("domains", EPERM)
    [view] = seat.arbiter.turn([LookAtDomain(ref)])
    assert isinstance(view, DomainView)
    assert view.name == "web"
