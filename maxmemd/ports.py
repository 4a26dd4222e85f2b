"""The verbs that the arbiter needs from the world, and nothing more."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

from maxmemd.errors import HypervisorError, XenstoreError
from maxmemd.policy.components import Record
from maxmemd.policy.entries import Entry, InstanceRow, PushRow, Snapshot
from maxmemd.policy.facts import HostFacts, StoreFacts, XenFacts
from maxmemd.policy.orders import Order, Outcome
from maxmemd.units import Memory


class Hypervisor(Protocol):
    """Xen, or a host that obeys its laws (A1-A10). Used from one thread."""

    def domains(self) -> Sequence[XenFacts]:
        """Return every domain by rising domid, asked with as few hypercalls as possible.

        Raises HypervisorError.
        """
        ...

    def domain(self, domid: int) -> XenFacts:
        """Return one domain. Raises DomainGone when there is none of that domid (A3)."""
        ...

    def host(self) -> HostFacts:
        """Return the host's totals. Raises HypervisorError."""
        ...

    def set_max_mem(self, domid: int, limit: Memory) -> None:
        """Set max_pages to limit.max_pages (XEN_DOMCTL_max_mem; A1). Raises HypervisorError."""
        ...

    def set_pod_target(self, domid: int, target: Memory) -> None:
        """Set the populate-on-demand target of an HVM or PVH guest (XENMEM_set_pod_target; A9).

        Raises HypervisorError; EINVAL when the target is above max_pages.
        """
        ...

    def close(self) -> None:
        """Give the handle back."""
        ...


class Xenstore(Protocol):
    """What xenstore knows of domains. Used from one thread, but for `watch`."""

    def facts(self, domid: int) -> StoreFacts:
        """Return name and memory nodes; all None for a domain without them.

        Raises XenstoreError when xenstored cannot be asked.
        """
        ...

    def write(
        self, domid: int, uuid: str, *, target: Memory | None, static_max: Memory | None
    ) -> None:
        """Write memory/target (and /vm/UUID/memory in MiB, as libxl does) and memory/static-max.

        None leaves a node alone. One transaction that first checks that /local/domain/DOMID
        exists and belongs to `uuid`; raises DomainGone when it does not, so that a dead path is
        never recreated. Raises XenstoreError.
        """
        ...

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed`, from a thread of the adapter's own, when domains may have come or gone.

        Events carry no domid, may be coalesced or spurious (A5): the callee rescans.
        """
        ...

    def close(self) -> None:
        """End the watch and give the handles back."""
        ...


class LookResult(NamedTuple):
    """What a look at one domain showed, or why it showed nothing; `store` only where asked for."""

    xen: XenFacts | HypervisorError
    store: StoreFacts | XenstoreError | None


class Pusher(Protocol):
    """The one way from the arbiter to Xen and xenstore. Used from one thread, but for `watch`.

    `domains`, `domain`, `host` and `facts` are those of Hypervisor and Xenstore, and raise as they
    do. Several domains are looked at, and several orders carried out, at the price of one message.
    """

    def domains(self) -> Sequence[XenFacts]:
        """Return every domain by rising domid. Raises HypervisorError."""
        ...

    def domain(self, domid: int) -> XenFacts:
        """Return one domain. Raises DomainGone when there is none of that domid (A3)."""
        ...

    def host(self) -> HostFacts:
        """Return the host's totals. Raises HypervisorError."""
        ...

    def facts(self, domid: int) -> StoreFacts:
        """Return name and memory nodes of a domain. Raises XenstoreError."""
        ...

    def look(self, domids: Sequence[int], *, stores: Collection[int]) -> Sequence[LookResult]:
        """Look at several domains, in this order, and at the nodes of those in `stores`."""
        ...

    def push(self, orders: Sequence[Order]) -> Sequence[Outcome]:
        """Carry out several orders, in this order; one that fails keeps none from its turn.

        Raising: max_pages, PoD target, static-max, target. Lowering: static-max and target, PoD
        target, max_pages last. Then the domain is read back.
        """
        ...

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed`, from a thread of its own, when domains may have come or gone (A5)."""
        ...

    def close(self) -> None:
        """End the watch and give the handles back."""
        ...


class Clock(Protocol):
    """Time. Durations come from `monotonic_s` only; `wall_ns` is for people to read."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed instant; never goes back."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since 1970 as the host's clock has it; may jump."""
        ...


class Ledger(Protocol):
    """Where decisions are kept. Used from one thread. Every method raises LedgerError."""

    def load(self) -> Snapshot:
        """Return what is kept, checked. Raises LedgerCorrupt."""
        ...

    def reopen(self) -> None:
        """After a failed commit: bring the file to one certain state before the next `load`."""
        ...

    def commit(
        self,
        at_ns: int,
        entries: Sequence[Entry],
        *,
        instances: Sequence[InstanceRow] = (),
        pushes: Sequence[PushRow] = (),
        forgotten: Sequence[str] = (),
    ) -> None:
        """Keep all of it or nothing; it survives a power cut once this returns."""
        ...

    def by_keys(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return the entries that were kept under these idempotency keys."""
        ...

    def record_at(self, uuid: str, revision: int) -> Record | None:
        """Return a record as it was at a revision, or None."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...
