"""The two ports of a simulated host. Faults strike here, before the host does anything."""

from collections.abc import Callable, Sequence
from errno import ECONNREFUSED
from typing import TYPE_CHECKING

from maxmemd.errors import XenstoreError
from maxmemd.policy.facts import HostFacts, StoreFacts, XenFacts
from maxmemd.units import Memory
from maxmemd.xen.simulated.nodes import Watch

if TYPE_CHECKING:
    from maxmemd.xen.simulated.host import SimulatedHost


class SimulatedHypervisor:
    """A `Hypervisor`. With `now`, the guests live up to it whenever Xen is asked about them."""

    def __init__(self, host: "SimulatedHost", now: Callable[[], float] | None = None) -> None:
        self._host, self._machine, self._faults = host, host.machine, host.faults
        self._now = now

    def domains(self) -> Sequence[XenFacts]:
        """Return every domain by rising domid."""
        self._before("domains", None)
        return self._machine.domains()

    def domain(self, domid: int) -> XenFacts:
        """Return one domain. Raises DomainGone (A3)."""
        self._before("domain", domid)
        return self._machine.domain(domid)

    def host(self) -> HostFacts:
        """Return the host's totals."""
        self._before("host", None)
        return self._machine.host()

    def set_max_mem(self, domid: int, limit: Memory) -> None:
        """Set max_pages to limit.max_pages (A1)."""
        pages = limit.max_pages
        if self._faults.armed:
            self._faults.hypercall("set_max_mem", domid)
            pages = self._faults.bend(domid, pages)
        self._machine.set_max(domid, pages)

    def set_pod_target(self, domid: int, target: Memory) -> None:
        """Set the PoD target; EINVAL above max_pages (A9), and of a PV domain."""
        if self._faults.armed:
            self._faults.hypercall("set_pod_target", domid)
        self._machine.set_pod_target(domid, target.pages)

    def close(self) -> None:
        """Do nothing: a simulated host has no handle."""

    def _before(self, verb: str, domid: int | None) -> None:
        if self._faults.armed:
            self._faults.hypercall(verb, domid)
        if self._now is not None:
            self._host.advance(self._now())


class SimulatedXenstore:
    """A `Xenstore`. `close` ends the watches that were begun here."""

    def __init__(self, host: "SimulatedHost") -> None:
        self._host, self._nodes, self._faults = host, host.nodes, host.faults
        self._watches: list[Watch] = []

    def facts(self, domid: int) -> StoreFacts:
        """Return name and memory nodes; all None for a domain without them."""
        self._before("facts", domid)
        return self._nodes.facts(domid)

    def write(
        self, domid: int, uuid: str, *, target: Memory | None, static_max: Memory | None
    ) -> None:
        """Write memory nodes of a living domain of that UUID. Raises DomainGone."""
        self._before("write", domid)
        self._host.write_nodes(domid, uuid, target=target, static_max=static_max)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` now and when domains come or go, from a thread of its own (A5)."""
        self._watches.append(self._nodes.watch(changed))

    def quiet(self, timeout_s: float = 10.0) -> bool:
        """Wait until every event so far has been answered; return whether it was in time."""
        return all(watch.quiet(timeout_s) for watch in self._watches)

    def close(self) -> None:
        """End the watches."""
        while self._watches:
            self._nodes.unwatch(self._watches.pop())

    def _before(self, verb: str, domid: int) -> None:
        if self._faults.armed:
            self._faults.request(verb, domid)
        if self._nodes.away:
            raise XenstoreError(f"{verb} xenstore nodes of domain {domid}", ECONNREFUSED)
