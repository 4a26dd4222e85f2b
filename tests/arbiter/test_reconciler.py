"""Xen against the ledger: drift by mode, builds that are never fought, retries."""

from errno import EIO, EPERM, ESRCH

import pytest

from maxmemd.errors import HypervisorError, LedgerError, LedgerFull
from maxmemd.policy.components import MAX_MEM
from maxmemd.policy.reference import Domid
from maxmemd.policy.states import PushState
from maxmemd.policy.wishes import Increase, SetComponent, SetMaxMem, SetTarget
from maxmemd.units import UNLIMITED, Memory
from maxmemd.xen.simulated import finish
from tests.support.seat import DM, MIB, Seat, mib, web_of

MODES = ["restore", "adopt", "alert"]


def seat_of(drift: str = "restore") -> Seat:
    """Return a seat with one guest, domain 1, that may have 97 MiB and 256 KiB."""
    seat = Seat(drift=drift)
    seat.host.create("web", memory=mib(64), maxmem=mib(128))
    seat.restart()
    seat.grant(1, SetMaxMem(mib(96)))
    seat.grant(1, Increase(DM, 256))
    return seat


OURS = (97 * MIB + 256) // 4
THEIRS = 80 * 256


def test_drift_is_restored() -> None:
    """In restore, a foreign maximum is overwritten with ours, and the history says so."""
    seat = seat_of()
    seat.host.foreign_write(1, mib(80))
    seat.poll()
    assert (seat.pages(1), seat.state(1), seat.record(1).revision) == (OURS, "applied", 3)
    assert seat.memory.words("drift") == [
        {"seen_pages": THEIRS, "wanted_pages": OURS, "mode": "restore"}
    ]
    assert seat.arbiter.reconciler.drifts == 1
    seat.poll()
    assert seat.arbiter.reconciler.drifts == 1


def test_drift_is_adopted() -> None:
    """In adopt, their maximum becomes the operator's limit beside what the others have."""
    seat = seat_of("adopt")
    seat.host.foreign_write(1, mib(80))
    seat.poll()
    assert (seat.pages(1), seat.state(1), seat.record(1).revision) == (THEIRS, "applied", 4)
    assert seat.amounts(1) == {
        "operator/max-mem": 79 * MIB - 256,
        "toolstack/slack": MIB,
        "device-model/rom": 256,
    }
    assert seat.memory.words("drift") == [
        {"seen_pages": THEIRS, "wanted_pages": OURS, "mode": "adopt"}
    ]
    pushes = len(seat.memory.rows)
    seat.poll()
    assert len(seat.memory.rows) == pushes


def test_unlimited_is_adopted_as_unlimited() -> None:
    """A maximum that another program raised stays raised in adopt."""
    seat = seat_of("adopt")
    seat.host.foreign_write(1, UNLIMITED)
    seat.poll()
    assert seat.record(1).limit == UNLIMITED
    assert seat.pages(1) == UNLIMITED.pages


def test_what_others_have_is_not_given_up_to_drift() -> None:
    """In adopt, a maximum below the device model's share is adopted as far as can be."""
    seat = seat_of("adopt")
    seat.host.foreign_write(1, Memory(kib=128))
    seat.poll()
    assert (seat.pages(1), seat.state(1)) == (64, PushState.OVER_LIMIT)
    assert seat.amounts(1)["device-model/rom"] == 256


def test_an_adoption_that_cannot_be_kept_is_tried_again() -> None:
    """While the ledger is full, drift is neither adopted nor overwritten; then it is adopted."""
    seat = seat_of("adopt")
    seat.host.foreign_write(1, mib(80))
    seat.memory.fail(LedgerFull("cannot write: full"))
    with pytest.raises(LedgerError):
        seat.poll()
    assert (seat.pages(1), seat.record(1).revision) == (THEIRS, 3)
    seat.memory.heal()
    seat.poll()
    assert (seat.pages(1), seat.record(1).revision) == (THEIRS, 4)


def test_drift_is_only_said() -> None:
    """In alert, a foreign maximum stays, and is recorded once for each value."""
    seat = seat_of("alert")
    seat.host.foreign_write(1, mib(80))
    for _ in range(3):
        seat.poll()
    assert (seat.pages(1), seat.state(1), seat.record(1).revision) == (THEIRS, PushState.PENDING, 3)
    instance = seat.instance(1)
    assert instance.drift_pages == THEIRS
    assert instance.error == (
        f"cannot keep {OURS} pages: another program wrote {THEIRS},"
        " which is left alone (drift = alert)"
    )
    assert len(seat.memory.words("drift")) == 1
    seat.host.foreign_write(1, mib(81))
    seat.poll()
    assert len(seat.memory.words("drift")) == 2


def test_an_alert_ends() -> None:
    """In alert, restoring the maximum ends it; another write is new drift."""
    seat = seat_of("alert")
    seat.host.foreign_write(1, mib(80))
    seat.poll()
    seat.host.foreign_write(1, Memory.of_pages(OURS))
    seat.poll()
    assert seat.state(1) == "applied"
    seat.host.foreign_write(1, mib(80))
    seat.poll()
    assert len(seat.memory.words("drift")) == 2


def test_an_alert_outlives_a_restart() -> None:
    """In alert, a restart does not overwrite what the alert was given for."""
    seat = seat_of("alert")
    seat.host.foreign_write(1, mib(80))
    seat.poll()
    seat.restart()
    seat.poll()
    assert (seat.pages(1), seat.state(1)) == (THEIRS, PushState.PENDING)


def test_a_wish_ends_an_alert() -> None:
    """In alert, the next decision about the domain is pushed like any."""
    seat = seat_of("alert")
    seat.host.foreign_write(1, mib(80))
    seat.poll()
    seat.grant(1, SetMaxMem(mib(100)))
    assert (seat.pages(1), seat.state(1)) == ((101 * MIB + 256) // 4, "applied")


@pytest.mark.parametrize("drift", MODES)
def test_drift_while_the_daemon_was_down(drift: str) -> None:
    """A write during our absence is drift by the same rule."""
    seat = seat_of(drift)
    seat.poll()
    seat.host.foreign_write(1, mib(80))
    seat.restart()
    assert seat.pages(1) == (OURS if drift == "restore" else THEIRS)
    assert len(seat.memory.words("drift")) == 1


@pytest.mark.parametrize("drift", MODES)
def test_a_restart_sees_no_drift(drift: str) -> None:
    """A restart with everything in force writes no line of drift, however often it polls."""
    seat = seat_of(drift)
    seat.restart()
    for _ in range(3):
        seat.poll()
    assert (seat.memory.words("drift"), seat.arbiter.reconciler.drifts) == ([], 0)


@pytest.mark.parametrize("drift", MODES)
def test_pages_are_compared_not_kib(drift: str) -> None:
    """A limit that is no whole number of pages is in force as its whole pages (A1)."""
    seat = seat_of(drift)
    seat.grant(1, SetComponent(DM, Memory(kib=257)))
    seat.poll()
    assert (seat.pages(1), seat.state(1), seat.memory.words("drift")) == (OURS, "applied", [])


@pytest.mark.parametrize("drift", MODES)
def test_a_restore_is_neither_fought_nor_taken_for_drift(drift: str) -> None:
    """What libxl sets stands while it builds, above ours too; then the record is in force."""
    seat = Seat(drift=drift)
    seat.host.create("web", kind="hvm", memory=mib(64), maxmem=mib(128))
    seat.restart()
    seat.grant(1, SetTarget(mib(64)))
    seat.host.tick(10)
    wanted = seat.record(1)
    image = seat.host.save(1)
    seat.poll()
    above = False
    for step in seat.host.building(image.config, image=image):
        theirs = seat.pages(step.domid)
        above = above or theirs > wanted.limit.pages
        seat.poll()
        if step.name != "running":
            assert seat.pages(step.domid) == max(theirs, wanted.limit.pages)
    seat.poll()
    assert above
    assert seat.record(2) == wanted
    assert (seat.pages(2), seat.memory.words("drift")) == (wanted.limit.pages, [])


@pytest.mark.parametrize("drift", MODES)
def test_a_restart_during_a_restore(drift: str) -> None:
    """A crash between any two steps of a restore, and the record is in force at its end."""
    seat = Seat(drift=drift)
    seat.host.create("web", kind="hvm", memory=mib(64), maxmem=mib(128))
    seat.restart()
    seat.grant(1, SetTarget(mib(64)))
    seat.host.tick(10)
    wanted = seat.record(1)
    image = seat.host.save(1)
    for step in seat.host.building(image.config, image=image):
        theirs = seat.pages(step.domid)
        seat.restart()
        if step.name != "running":
            assert seat.pages(step.domid) >= theirs
    seat.poll()
    assert seat.record(2) == wanted
    assert (seat.pages(2), seat.memory.words("drift")) == (wanted.limit.pages, [])


def test_a_fight_is_said_each_time() -> None:
    """Who writes again and again is overwritten, and each time is in the history."""
    seat = seat_of()
    for _ in range(3):
        seat.host.foreign_write(1, mib(80))
        seat.poll()
        assert seat.pages(1) == OURS
    assert len(seat.memory.words("drift")) == 3


def test_a_failed_push_is_tried_again_when_it_is_time() -> None:
    """What Xen refused is pushed again after 1, 2, 4 seconds, and not before."""
    seat = seat_of()
    seat.host.fail("set_max_mem", EPERM)
    seat.grant(1, SetMaxMem(mib(100)))
    tries = []
    for second in range(1, 16):
        before = seat.arbiter.limits.pushes
        seat.poll(after_s=1)
        if seat.arbiter.limits.pushes > before:
            tries.append(second)
    assert tries == [1, 3, 7, 15]
    assert seat.memory.words("drift") == []
    seat.host.heal()
    seat.poll(after_s=60)
    assert (seat.pages(1), seat.state(1)) == ((101 * MIB + 256) // 4, "applied")


def test_a_lie_is_tried_again_and_is_no_drift() -> None:
    """A value that does not read back is our push that failed, not another program's write."""
    seat = seat_of("adopt")
    seat.host.lie(1, -5)
    seat.grant(1, SetMaxMem(mib(100)))
    for _ in range(5):
        seat.poll()
    assert seat.state(1) == PushState.MISMATCHED
    assert seat.memory.words("drift") == []
    seat.host.heal()
    seat.poll(after_s=60)
    assert (seat.state(1), seat.record(1).amount(MAX_MEM)) == ("applied", mib(100))


def test_open_effects_alone_are_tried_again() -> None:
    """When Xen holds the limit but xenstore refused the nodes, they are written later."""
    seat = seat_of()
    seat.host.set_xenstore_away(away=True)
    answer = seat.arbiter.turn([])
    assert answer == []
    seat.host.heal()
    seat.host.fail("write", EPERM, times=1)
    seat.grant(1, SetTarget(mib(32), enforce=False))
    assert (seat.state(1), seat.instance(1).effect_states[0].state) == ("applied", "failed")
    seat.poll()
    assert seat.instance(1).effect_states[0].state == "written"
    assert seat.host.nodes.facts(1).target == mib(32)


def test_over_the_limit_is_in_force() -> None:
    """A guest that still holds more than its limit is no drift, and becomes applied."""
    seat = seat_of("adopt")
    seat.host.pause(1)
    seat.grant(1, SetMaxMem(mib(32), force=True))
    assert seat.state(1) == PushState.OVER_LIMIT
    seat.poll()
    assert (seat.state(1), seat.memory.words("drift")) == (PushState.OVER_LIMIT, [])


def test_who_dies_under_the_push_is_closed() -> None:
    """A domain that goes between the observation and the push is gone, and no poll fails."""
    seat = seat_of()
    seat.host.foreign_write(1, mib(80))
    seat.host.fail("set_max_mem", ESRCH, domid=1)
    seat.host.fail("domain", ESRCH, domid=1)
    seat.poll()
    assert seat.arbiter.instances.find(Domid(1)) == []
    assert seat.kinds(1)[-1] == "instance-ended"


def test_one_domains_trouble_is_not_anothers() -> None:
    """When one adoption cannot be kept, the other domains are settled all the same."""
    seat = Seat(drift="adopt")
    for name in ("web", "db"):
        seat.host.create(name, memory=mib(64))
    seat.restart()
    seat.host.foreign_write(1, mib(80))
    seat.host.foreign_write(2, mib(80))
    seat.memory.fail(LedgerFull("cannot write: full"))
    with pytest.raises(LedgerError):
        seat.poll()
    seat.poll()
    assert seat.record(1).limit == seat.record(2).limit == mib(80)


def test_xen_that_cannot_be_asked() -> None:
    """When Xen refuses the list, a poll raises it and changes nothing; the next one goes on."""
    seat = seat_of()
    seat.host.foreign_write(1, mib(80))
    seat.host.fail("domains", EPERM, times=1)
    with pytest.raises(HypervisorError):
        seat.poll()
    assert seat.pages(1) == THEIRS
    seat.poll()
    assert seat.pages(1) == OURS


def test_a_guest_that_holds_too_much_is_noted_until_it_has_shrunk() -> None:
    """Over the limit is one line, whatever is pushed meanwhile; that it is over is another."""
    seat = Seat()
    seat.host.create("web", memory=mib(64), maxmem=mib(128))
    seat.restart()
    seat.grant(1, SetMaxMem(mib(32), force=True))
    seat.grant(1, SetMaxMem(mib(40), force=True))
    seat.poll()
    tot = 64 * 256
    assert seat.memory.words("over-limit") == [
        {"domid": 1, "from": "applied", "max_pages": 33 * 256, "tot_pages": tot}
    ]
    assert seat.memory.words("recovered") == []
    seat.grant(1, SetMaxMem(mib(80)))
    seat.poll()
    assert seat.memory.words("recovered") == [
        {"domid": 1, "from": "over-limit"},
        {"domid": 1, "from": "target-above-limit"},
    ]


def test_a_push_that_failed_and_got_over_it_is_noted() -> None:
    """After a push that Xen refused, the one that it takes is recorded as the recovery."""
    seat = seat_of()
    seat.host.fail("set_max_mem", EPERM, times=1)
    seat.grant(1, SetMaxMem(mib(97)))
    assert (seat.state(1), seat.memory.words("recovered")) == ("failed", [])
    seat.poll(2.0)
    seat.poll()
    assert seat.memory.words("recovered") == [{"domid": 1, "from": "failed"}]
    assert seat.arbiter.limits.healed == 0


@pytest.mark.parametrize("drift", MODES)
def test_drift_that_is_over_is_noted(drift: str) -> None:
    """Healed is what we put back, or what its writer took back; adopted drift is not healed."""
    seat = seat_of(drift)
    seat.host.foreign_write(1, mib(80))
    seat.poll()
    healed = drift == "restore"
    assert seat.arbiter.limits.healed == healed
    if drift == "alert":
        seat.host.foreign_write(1, Memory.of_pages(OURS))
        seat.poll()
        healed = True
    assert seat.arbiter.limits.healed == healed
    lines = [{"domid": 1, "from": "drift"}] if healed else []
    assert seat.memory.words("recovered") == lines


def test_a_build_that_dies_under_a_push_leaves_what_it_was_owed() -> None:
    """Nodes that wait until it runs are its next life's, also where a push shows its end."""
    seat = Seat().restart()
    build = seat.host.building(web_of(64, 128))
    web = next(build).domid
    while next(build).name != "introduced":
        pass
    seat.poll()
    seat.host.fail("write", EIO)
    seat.grant(web, SetMaxMem(mib(96)))
    seat.host.heal()
    seat.host.foreign_write(web, mib(64))
    seat.host.fail("set_max_mem", ESRCH, domid=web)
    seat.host.fail("domain", ESRCH, domid=web)
    seat.poll(after_s=100.0)
    assert seat.arbiter.instances.find(Domid(web)) == []
    seat.host.heal()
    seat.host.destroy(web)

    born = finish(seat.host.building(web_of(64, 128)))
    seat.poll()

    assert seat.host.nodes.facts(born).static_max == mib(96)
    assert (seat.pages(born), seat.memory.words("created")) == (97 * 256, [])
