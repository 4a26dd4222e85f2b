"""How guests move with time."""

import pytest

from maxmemd.units import Memory
from maxmemd.xen.simulated import Ceiling, Floor, Guest, Ideal, Intermittent, SimulatedHost, Stuck

MIB = 256
"""Pages in a MiB."""


def mib(amount: int) -> Memory:
    """Return that many MiB."""
    return Memory.of_mib(amount)


class Scene:
    """A host with one PV guest of 1024 MiB that may hold 2048."""

    def __init__(self, guest: Guest) -> None:
        self.host = SimulatedHost(total=mib(8192))
        self.domid = self.host.create("guest", memory=mib(1024), maxmem=mib(2048), guest=guest)
        self.host.foreign_write(self.domid, mib(2048))

    def aim(self, target: Memory) -> None:
        """Set memory/target."""
        uuid = self.host.machine.domain(self.domid).uuid
        self.host.xenstore().write(self.domid, uuid, target=target, static_max=None)

    def after(self, seconds: float) -> float:
        """Return the MiB that the guest holds after so many seconds more."""
        self.host.tick(seconds)
        return self.host.machine.domain(self.domid).tot_pages / MIB


def test_an_ideal_guest_moves_at_256_mib_a_second_both_ways() -> None:
    """It reaches its target at its rate, and stays there."""
    scene = Scene(Ideal())
    scene.aim(mib(1024 + 384))
    assert [scene.after(1.0), scene.after(0.25), scene.after(9.0)] == [1280, 1344, 1408]
    scene.aim(mib(512))
    assert [scene.after(1.0), scene.after(9.0), scene.after(9.0)] == [1152, 512, 512]


def test_slicing_time_makes_no_difference() -> None:
    """A thousand short ticks move a guest as far as one long one."""
    scene, other = Scene(Ideal(rate=Memory(kib=4 * 333))), Scene(Ideal(rate=Memory(kib=4 * 333)))
    scene.aim(mib(2048))
    other.aim(mib(2048))
    for _ in range(1024):
        scene.after(2**-10)
    assert scene.after(0.0) == other.after(1.0) == 1024 + 333 / MIB


def test_a_guest_with_a_floor_stops_there() -> None:
    """It shrinks to its hidden minimum, and grows freely."""
    scene = Scene(Floor(minimum=mib(700)))
    scene.aim(mib(100))
    assert scene.after(60.0) == 700
    scene.aim(mib(2000))
    assert scene.after(60.0) == 2000


def test_a_guest_below_its_floor_does_not_rise_to_it() -> None:
    """A floor stops a guest from shrinking; it raises no guest."""
    scene = Scene(Floor(minimum=mib(1500)))
    scene.aim(mib(100))
    assert scene.after(60.0) == 1024


def test_a_guest_with_a_ceiling_stops_there() -> None:
    """It grows to its hidden maximum, and shrinks freely."""
    scene = Scene(Ceiling(maximum=mib(1100)))
    scene.aim(mib(2000))
    assert scene.after(60.0) == 1100
    scene.aim(mib(600))
    assert scene.after(60.0) == 600


def test_a_stuck_guest_never_moves() -> None:
    """Neither way."""
    scene = Scene(Stuck())
    scene.aim(mib(100))
    assert scene.after(3600.0) == 1024


def test_an_intermittent_guest_sticks_every_other_interval() -> None:
    """Two seconds it moves, two it does not."""
    scene = Scene(Intermittent(interval_s=2.0, rate=mib(100)))
    scene.aim(mib(2048))
    held = [scene.after(1.0) for _ in range(6)]
    assert held == [1124, 1224, 1224, 1224, 1324, 1424]


def test_a_guest_does_not_pass_max_pages() -> None:
    """It takes what fits, no error reaches anybody, and it goes on when there is room."""
    scene = Scene(Ideal())
    scene.host.foreign_write(scene.domid, mib(1100))
    scene.aim(mib(2048))
    assert scene.after(60.0) == 1100
    scene.host.foreign_write(scene.domid, mib(1200))
    assert scene.after(60.0) == 1200


def test_a_guest_above_max_pages_may_shrink_but_not_grow() -> None:
    """The ratchet: above its maximum it gets not one page (A1)."""
    scene = Scene(Ideal())
    scene.host.foreign_write(scene.domid, mib(512))
    scene.aim(mib(1500))
    assert scene.after(60.0) == 1024
    scene.aim(mib(600))
    assert scene.after(60.0) == 600


def test_a_guest_does_not_take_more_than_the_host_has() -> None:
    """Free memory ends before its target: it takes what there is."""
    host = SimulatedHost(total=mib(4096), dom0=mib(1024))
    domid = host.create("greedy", memory=mib(1024), maxmem=mib(8192))
    host.foreign_write(domid, mib(8192))
    uuid = host.machine.domain(domid).uuid
    host.write_nodes(domid, uuid, target=mib(8192))
    host.tick(60.0)
    assert host.machine.domain(domid).tot_pages == 3072 * MIB
    assert host.machine.host().free_pages == 0


@pytest.mark.parametrize("verb", ["pause", "shutdown"])
def test_only_a_guest_that_runs_balloons(verb: str) -> None:
    """Paused or shut down, it stays."""
    scene = Scene(Ideal())
    getattr(scene.host, verb)(scene.domid)
    scene.aim(mib(512))
    assert scene.after(60.0) == 1024
    scene.host.unpause(scene.domid)
    assert scene.after(60.0) == (512 if verb == "pause" else 1024)


def test_an_hvm_guest_moves_by_the_change_of_its_target() -> None:
    """What its device model populated stays beside what it balloons (A8)."""
    host = SimulatedHost(total=mib(8192))
    domid = host.create("db", kind="hvm", memory=mib(1024), maxmem=mib(2048), nics=2)
    before = host.machine.domain(domid).tot_pages
    seen = host.nodes.facts(domid).target
    assert seen is not None
    host.plug(domid, 64)
    host.write_nodes(domid, host.machine.domain(domid).uuid, target=seen - mib(256))
    host.tick(60.0)
    assert host.machine.domain(domid).tot_pages == before + 64 - 256 * MIB


def test_plugged_pages_do_not_make_a_guest_shrink() -> None:
    """A guest at its target stays there, and so do the pages that came beside it (A8)."""
    host = SimulatedHost(total=mib(8192))
    domid = host.create("db", kind="hvm", memory=mib(1024))
    before = host.machine.domain(domid).tot_pages
    host.plug(domid, 64)
    host.tick(60.0)
    assert host.machine.domain(domid).tot_pages == before + 64


def test_a_target_written_before_the_guest_is_up_is_read_when_it_is() -> None:
    """Between introduce and boot, the guest misses nothing."""
    host = SimulatedHost(total=mib(8192))
    life = host.creating("web", memory=mib(512), maxmem=mib(1024))
    for step in life:
        if step.name == "introduced":
            uuid = host.machine.domain(step.domid).uuid
            host.write_nodes(step.domid, uuid, target=mib(256))
    host.tick(60.0)
    assert host.machine.domain(1).tot_pages == 256 * MIB


def test_time_is_told_and_never_goes_back() -> None:
    """The first advance only says what time it is; an earlier time changes nothing."""
    scene = Scene(Ideal())
    scene.aim(mib(2048))
    for now_s in (1_000_000.0, 1_000_001.0, 999_999.0, 1_000_001.0):
        scene.host.advance(now_s)
        facts = scene.host.machine.domain(scene.domid)
        assert facts.cpu_time_ns == 1_000_000 + (20_000_000 if now_s != 1_000_000.0 else 0)
    assert scene.after(0.0) == 1280


def test_a_port_with_a_clock_lets_the_guests_live() -> None:
    """Asking Xen is what makes time pass."""
    scene = Scene(Ideal())
    times = iter([5.0, 6.0, 6.5, 6.5])
    hypervisor = scene.host.hypervisor(lambda: next(times))
    hypervisor.domain(0)
    scene.aim(mib(2048))
    assert hypervisor.domain(scene.domid).tot_pages == 1280 * MIB
    assert hypervisor.domains()[1].tot_pages == 1408 * MIB
    assert hypervisor.host().free_pages == (8192 - 2048 - 1408) * MIB
