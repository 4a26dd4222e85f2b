"""The ports Hypervisor and Xenstore of a simulated host. Faults occur here, before any effect."""

from collections.abc import Callable, Sequence
from errno import ECONNREFUSED
from typing import Protocol

from maxmemd.errors import XenstoreError
from maxmemd.policy.facts import HostFacts, StoreFacts, XenFacts
from maxmemd.units import Memory
from maxmemd.xen.simulated.faults import Faults
from maxmemd.xen.simulated.machine import Machine
from maxmemd.xen.simulated.nodes import Nodes, Watch


class SimulatedHypervisor:
    """A `Hypervisor`. `advance` is called before each read: it lets the guests live up to now."""

    def __init__(
        self, machine: Machine, faults: Faults, advance: Callable[[], None] | None = None
    ) -> None:
        self._machine, self._faults, self._advance = machine, faults, advance

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
            pages = self._faults.pages_held(domid, pages)
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
        if self._advance is not None:
            self._advance()


class WriteNodes(Protocol):
    """Writes memory nodes as Nodes.write does, and tells the guest."""

    def __call__(
        self, domid: int, uuid: str, *, target: Memory | None, static_max: Memory | None
    ) -> None:
        """Write what is not None. Raises DomainGone."""
        ...


class SimulatedXenstore:
    """A `Xenstore`. `close` ends the watches that were started here."""

    def __init__(self, nodes: Nodes, faults: Faults, write_nodes: WriteNodes) -> None:
        self._nodes, self._faults, self._write_nodes = nodes, faults, write_nodes
        self._watches: list[Watch] = []

    def facts(self, domid: int) -> StoreFacts:
        """Return name and memory nodes; all None for a domain without them."""
        self._before("facts", domid)
        return self._nodes.facts(domid)

    def write(
        self, domid: int, uuid: str, *, target: Memory | None, static_max: Memory | None
    ) -> None:
        """Write memory nodes if the domain exists and has that UUID. Raises DomainGone."""
        self._before("write", domid)
        self._write_nodes(domid, uuid, target=target, static_max=static_max)

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` now and when domains come or go, from a thread of its own (A5)."""
        self._watches.append(self._nodes.watch(on_change))

    def wait_until_quiet(self, timeout_s: float = 10.0) -> bool:
        """Wait until the calls for all events so far have returned; False at the time-out."""
        return all(watch.wait_until_quiet(timeout_s) for watch in self._watches)

    def close(self) -> None:
        """End the watches."""
        while self._watches:
            self._nodes.unwatch(self._watches.pop())

    def _before(self, verb: str, domid: int) -> None:
        if self._faults.armed:
            self._faults.request(verb, domid)
        if self._nodes.is_away:
            raise XenstoreError(f"{verb} xenstore nodes of domain {domid}", ECONNREFUSED)
