"""The simulated host as a whole: for the demo, benchmarks and tests."""

import time
from collections.abc import Callable

from maxmemd.units import Memory
from maxmemd.xen.simulated.adapters import SimulatedHypervisor, SimulatedXenstore
from maxmemd.xen.simulated.config import SLACK
from maxmemd.xen.simulated.faults import Faults
from maxmemd.xen.simulated.guests import Floor, Intermittent, Stuck
from maxmemd.xen.simulated.toolstack import Toolstack

DOM0 = Memory.of_mib(2048)
SMALL = Memory.of_mib(64)


class SimulatedHost(Toolstack):
    """A Xen host in memory that obeys A1-A11. Any thread may call anything.

    Guests move only when `advance` or `tick` lets time pass. Slow hypercalls call `sleep`. No lock
    is held across two operations: a hypercall and a write to xenstore are never atomic (A10). With
    `unique_ids` it is as Xen 4.21 and later, else as an earlier one (A11).
    """

    def __init__(
        self,
        *,
        total: Memory,
        dom0: Memory = DOM0,
        sleep: Callable[[float], None] = time.sleep,
        unique_ids: bool = False,
    ) -> None:
        super().__init__(total=total, dom0=dom0, unique_ids=unique_ids)
        self.faults = Faults(sleep)
        self._now_s: float | None = None
        self._lived_s = 0.0

    @classmethod
    def demo(cls) -> "SimulatedHost":
        """Return a host of 16 GiB with guests of every kind and behaviour."""
        host = cls(total=Memory.of_mib(16384))
        host.create("web", memory=Memory.of_mib(512), maxmem=Memory.of_mib(1024))
        host.create(
            "db", kind="hvm", memory=Memory.of_mib(2048), maxmem=Memory.of_mib(4096), nics=1
        )
        host.create("build", kind="pvh", memory=Memory.of_mib(1024), maxmem=Memory.of_mib(3072))
        host.create("cache", memory=Memory.of_mib(768), maxmem=Memory.of_mib(1536), guest=Stuck())
        mail = Floor(minimum=Memory.of_mib(384))
        host.create(
            "mail", kind="pvh", memory=Memory.of_mib(512), maxmem=Memory.of_mib(768), guest=mail
        )
        host.create(
            "batch", memory=Memory.of_mib(256), maxmem=Memory.of_mib(2048), guest=Intermittent()
        )
        return host

    @classmethod
    def with_guests(cls, count: int, *, memory: Memory = SMALL) -> "SimulatedHost":
        """Return a host with `count` PV guests, guest-0001 and so on, each at half its maximum."""
        maxmem = memory + memory
        host = cls(total=DOM0 + Memory(kib=count * (maxmem + SLACK).kib))
        for number in range(1, count + 1):
            host.create(f"guest-{number:04}", memory=memory, maxmem=maxmem)
        return host

    def hypervisor(self, now: Callable[[], float] | None = None) -> SimulatedHypervisor:
        """Return a Hypervisor; with `now` (seconds), the guests live up to it at each read."""
        advance = None if now is None else lambda: self.advance(now())
        return SimulatedHypervisor(self.machine, self.faults, advance)

    def xenstore(self) -> SimulatedXenstore:
        """Return a Xenstore."""
        return SimulatedXenstore(self.nodes, self.faults, self.write_nodes)

    def advance(self, now_s: float) -> None:
        """Let the guests live until `now_s`; the first call only sets the time."""
        with self.lock:
            since_s = now_s if self._now_s is None else self._now_s
            self._now_s = max(since_s, now_s)
            self._live(self._now_s - since_s)

    def tick(self, seconds: float) -> None:
        """Let the guests live for this time."""
        with self.lock:
            self._live(seconds)

    def write_nodes(
        self,
        domid: int,
        uuid: str,
        *,
        target: Memory | None = None,
        static_max: Memory | None = None,
    ) -> None:
        """Write memory nodes, and tell the guest its target. Raises DomainGone."""
        with self.lock:
            self.nodes.write(domid, uuid, target=target, static_max=static_max)
            if target is not None:
                self.drivers.aim(domid, target.pages)

    def fail(
        self, verb: str, errno: int, *, times: int | None = None, domid: int | None = None
    ) -> None:
        """Make the next `times` calls of a port's method, or of populate, fail (None: all)."""
        self.faults.fail(verb, errno, times, domid)

    def lie(self, domid: int, offset_pages: int) -> None:
        """Make maxima read back this many pages off what set_max_mem wrote; 0 ends it."""
        self.faults.lie(domid, offset_pages)

    def delay(self, verb: str, seconds: float) -> None:
        """Make every call of a port's method take this time; 0 ends it."""
        self.faults.delay(verb, seconds)

    def heal(self) -> None:
        """End every fault, delay and lie, and bring xenstored back."""
        self.faults.clear()
        self.nodes.set_away(away=False)

    def set_xenstore_away(self, away: bool) -> None:
        """Take xenstored away, or bring it back: then every watch fires."""
        self.nodes.set_away(away=away)

    def populate(self, domid: int, pages: int) -> None:
        """Populate pages that no balloon driver knows of. Raises HypervisorError."""
        if self.faults.armed:
            self.faults.hypercall("populate", domid)
        super().populate(domid, pages)

    def _live(self, seconds: float) -> None:
        since_s, self._lived_s = self._lived_s, self._lived_s + seconds
        self.machine.now_s = int(self._lived_s)
        if self.drivers.restless:
            self.drivers.advance(self.machine, since_s, self._lived_s)
