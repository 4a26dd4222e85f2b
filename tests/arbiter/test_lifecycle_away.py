"""A domain that is built while the daemon is away: what was known of it is still known after."""

import pytest

from maxmemd.errors import LedgerFull
from maxmemd.policy.components import MAX_MEM
from maxmemd.policy.states import BuildPhase
from maxmemd.policy.wishes import (
    CREATED,
    RESTORED,
    Build,
    Import,
    Increase,
    SetComponent,
    SetMaxMem,
    SetTarget,
)
from maxmemd.units import Memory
from maxmemd.xen.simulated import Life, finish
from tests.support.seat import DM, MIB, WEB_UUID, Seat, mib, web_of

STEPS = ("created", "named", "limited", "claimed", "populated", "introduced", "device-model")


def away_from(seat: Seat, life: Life, step: str, until: str = "running") -> int:
    """Go away after a poll at one step of a build, come back after another; return the domid."""
    polling = True
    for at in life:
        if polling:
            seat.poll()
        polling = polling and at.name != step
        if at.name == until:
            break
    seat.restart()
    seat.poll()
    seat.poll()
    return at.domid


@pytest.mark.parametrize("until", ["limited", "device-model", "running"])
@pytest.mark.parametrize("step", STEPS)
def test_a_new_domain(step: str, until: str) -> None:
    """Wherever in its build the daemon goes, and whenever it comes back: libxl's numbers stand."""
    seat = Seat().restart()
    life = seat.host.creating("web", memory=mib(64), maxmem=mib(128))
    web = away_from(seat, life, step, until)
    for _ in life:
        seat.poll()
    seat.poll()
    assert (seat.pages(web), seat.state(web)) == (65 * 256, "applied")
    assert seat.amounts(web) == {"operator/max-mem": 64 * MIB, "toolstack/slack": MIB}
    assert seat.record(web).static_max == mib(128)
    assert seat.memory.words("drift") == []
    assert seat.memory.rows == []


def test_a_domain_that_has_nothing_yet_is_not_adopted() -> None:
    """A maximum of 0 is not set yet (A4): no record has it, and nothing is pushed."""
    seat = Seat().restart()
    life = seat.host.creating("web", memory=mib(64), maxmem=mib(128))
    web = next(life).domid
    seat.poll()
    seat.poll()
    assert seat.arbiter.records.get(seat.uuid(web)) is None
    assert seat.kinds(web) == ["instance-began"]
    for at in life:
        seat.poll()
        if at.name == "limited":
            assert seat.kinds(web) == ["instance-began", "adopted"]
    assert seat.amounts(web) == {"operator/max-mem": 64 * MIB, "toolstack/slack": MIB}


@pytest.mark.parametrize("step", STEPS)
def test_a_domain_whose_maximum_moved(step: str) -> None:
    """What the toolstack wrote last before it ran is what it is to have."""
    seat = Seat().restart()
    life = seat.host.creating("web", memory=mib(64), maxmem=mib(128))

    def moved() -> Life:
        for at in life:
            if at.name == "device-model":
                seat.host.foreign_write(at.domid, mib(100))
            yield at
        return at.domid

    web = away_from(seat, moved(), step)
    assert (seat.pages(web), seat.state(web)) == (100 * 256, "applied")
    assert seat.amounts(web) == {"operator/max-mem": 99 * MIB, "toolstack/slack": MIB}
    assert seat.memory.words("drift") == []


def test_a_crash_right_after_the_adoption() -> None:
    """That its record follows the build is kept in the commit that makes the record."""
    seat = Seat().restart()
    life = seat.host.creating("web", memory=mib(64), maxmem=mib(128))
    while next(life).name != "limited":
        pass
    seat.arbiter.lifecycle.rescan(seat.host.machine.domains())
    web = finish(life)
    seat.host.foreign_write(web, mib(100))
    seat.restart()
    assert (seat.pages(web), seat.memory.words("drift")) == (100 * 256, [])
    assert seat.record(web).static_max == mib(128)


@pytest.mark.parametrize("step", STEPS)
def test_a_build_of_a_known_domain_that_contradicts_its_record(step: str) -> None:
    """The toolstack's numbers replace the record, though ours were pushed before we went."""
    seat = known()
    seat.host.destroy(1)
    seat.poll()
    web = away_from(seat, seat.host.building(web_of(16, 16)), step)
    assert seat.amounts(web) == {"operator/max-mem": 16 * MIB, "toolstack/slack": MIB}
    assert (seat.pages(web), seat.record(web).static_max) == (17 * 256, mib(16))
    [words] = seat.memory.words("record-replaced")
    assert words["building"] is False
    assert words["max_pages"] in (17 * 256, 97 * 256 + 64)  # its toolstack's, or our push above it


@pytest.mark.parametrize("step", [step for step in STEPS if step != "claimed"])
def test_a_restore_of_a_known_domain(step: str) -> None:
    """It goes on with its record, a device model's share too."""
    seat = known()
    image = seat.host.save(1)
    web = away_from(seat, seat.host.building(image.config, image=image), step)
    assert seat.amounts(web) == {
        "operator/max-mem": 96 * MIB, "toolstack/slack": MIB, "device-model/rom": 256,
    }  # fmt: skip
    assert (seat.pages(web), seat.state(web)) == ((97 * MIB + 256) // 4, "applied")
    assert seat.memory.words("record-replaced") == seat.memory.words("drift") == []


def known() -> Seat:
    """Return a seat that knows WEB_UUID, as domain 1: 96 MiB, and a share of its device model."""
    seat = Seat().restart()
    finish(seat.host.building(web_of(64, 128)))
    seat.poll()
    seat.grant(1, SetMaxMem(mib(96)))
    seat.grant(1, SetTarget(mib(64)))
    seat.grant(1, SetMaxMem(mib(96)))
    seat.grant(1, Increase(DM, 256))
    return seat


@pytest.mark.parametrize("crashed", [False, True])
@pytest.mark.parametrize("life", [CREATED, RESTORED])
def test_an_announced_build(life: str, *, crashed: bool) -> None:
    """What was announced is not guessed about after a restart, or after a crash at once."""
    seat = known()
    image = seat.host.save(1)
    seat.poll()
    building = seat.host.building(web_of(64, 64), image=None if life == CREATED else image)
    web = next(building).domid
    seat.poll()
    seat.grant(web, Build(mib(64), life, static_max=mib(48)))
    seat.host.setmaxmem = lambda *_: None  # whoever asked does not write by itself
    amounts = seat.amounts(web)
    if not crashed:
        seat.poll()
    finish(building)
    seat.restart()
    seat.poll()
    assert seat.amounts(web) == amounts
    assert seat.pages(web) == sum(amounts.values()) // 4
    assert (seat.memory.words("record-replaced"), seat.memory.words("drift")) == ([], [])


@pytest.mark.parametrize("kept", [False, True])
def test_an_announced_build_whose_commit_failed(*, kept: bool) -> None:
    """Whether it was kept after all is read from the ledger, and with it that it was announced."""
    seat = known()
    seat.host.destroy(1)
    seat.poll()
    building = seat.host.building(web_of(64, 64))
    web = next(building).domid
    seat.poll()
    seat.memory.fail(LedgerFull("cannot write: full"), kept=kept)
    assert isinstance(seat.ask(web, Build(mib(64), CREATED, static_max=mib(48))), LedgerFull)
    seat.poll()
    phase = BuildPhase.ANNOUNCED if kept else BuildPhase.UNDECIDED
    assert seat.instance(web).build_phase is phase
    finish(building)
    seat.poll()
    assert ("record-replaced" in seat.kinds(web)) is not kept


@pytest.mark.parametrize("crashed", [False, True])
def test_a_limit_that_was_said_while_it_was_built(*, crashed: bool) -> None:
    """An operator's limit is kept over the restart; libxl's later write is drift."""
    seat = Seat().restart()
    life = seat.host.creating("web", memory=mib(64), maxmem=mib(128))
    while next(life).name != "introduced":
        pass
    seat.poll()
    seat.grant(1, SetComponent(MAX_MEM, mib(100)))
    if not crashed:
        seat.poll()
    finish(life)
    seat.host.foreign_write(1, mib(50))
    seat.restart()
    seat.poll()
    assert seat.record(1).amount(MAX_MEM) == mib(100)
    assert seat.pages(1) == 101 * 256


def test_an_imported_record() -> None:
    """A record imported before its domain arrived holds, although its start was not seen."""
    seat = Seat().restart()
    seat.grant(WEB_UUID, Import({MAX_MEM: mib(96), DM: Memory(kib=256)}, mib(128)))
    web = away_from(seat, seat.host.building(web_of(64, 128)), "named")
    assert seat.pages(web) == (97 * MIB + 256) // 4
    assert seat.record(web).revision == 1


def test_a_domain_that_runs_owes_nothing() -> None:
    """Once all is known of how it came to be, the ledger keeps nothing about that."""
    seat = known()
    seat.poll()
    assert {row.build for row in seat.memory.instances.values()} == {None}
