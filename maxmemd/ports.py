"""What the arbiter needs from Xen, xenstore, the ledger and the clock."""

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from maxmemd.errors import DomainFault, HypervisorError, XenstoreError
from maxmemd.policy.components import Record
from maxmemd.policy.drift import SetMode
from maxmemd.policy.entries import Entry, InstanceRow, PushRow, Snapshot
from maxmemd.policy.facts import HostFacts, StoreFacts, XenFacts
from maxmemd.policy.orders import Order, Outcome
from maxmemd.policy.retention import Retention
from maxmemd.units import Memory

NO_NAMES: Mapping[str, str] = MappingProxyType({})
"""No names of domains to keep."""
NO_MODES: Mapping[str, SetMode | None] = MappingProxyType({})
"""No modes of drift to keep; in such a mapping None is one that is taken back."""


class Hypervisor(Protocol):
    """Xen, or a host that obeys its laws (A1-A11). Used from one thread."""

    def domains(self) -> Sequence[XenFacts]:
        """Return every domain by rising domid, with as few hypercalls as possible.

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
        """Close the handle."""
        ...


class Xenstore(Protocol):
    """The nodes of domains in xenstore. Used from one thread; `watch` calls back from another."""

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

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call `on_change`, from a thread of the adapter's own, when domains may have come or gone.

        Events carry no domid, may be coalesced or spurious (A5): the callee rescans.
        """
        ...

    def close(self) -> None:
        """End the watch and close the handles."""
        ...


class LookResult(NamedTuple):
    """One domain's facts, or the errors instead of them; `store` is None unless asked for."""

    xen: XenFacts | HypervisorError | DomainFault
    store: StoreFacts | XenstoreError | None


class Pusher(Protocol):
    """All that the arbiter does with Xen and xenstore. Used from one thread, but for `give_up`.

    `domains`, `domain`, `host` and `facts` are those of Hypervisor and Xenstore, and raise the same
    errors. `look` and `push` take several domains and orders, since each call may be a message to
    another process.
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
        """Carry out several orders, in this order; a failed one does not stop the next.

        Raising: max_pages, PoD target, static-max, target; the effects wait for max_pages.
        Lowering: target, static-max, PoD target, and max_pages last, whatever became of those.
        Then the domain is read back.
        """
        ...

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call `on_change`, from a thread of its own, when domains may have come or gone (A5)."""
        ...

    def give_up(self) -> None:
        """Let what waits for another process fail now, and all that is asked later. Any thread."""
        ...

    def close(self) -> None:
        """End the watch and close the handles."""
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
    """The database of decisions. Used from one thread. Every method raises LedgerError."""

    def load(self) -> Snapshot:
        """Return the stored state, checked. Raises LedgerCorrupt."""
        ...

    def check_place(self) -> None:
        """Raise LedgerMoved unless the ledger's path names the file that is open."""
        ...

    def reopen(self) -> None:
        """After a failed commit: open the file again, so that `load` finds what is on disk."""
        ...

    def commit(
        self,
        at_ns: int,
        entries: Sequence[Entry],
        *,
        instances: Sequence[InstanceRow] = (),
        pushes: Sequence[PushRow] = (),
        forgotten: Sequence[str] = (),
        names: Mapping[str, str] = NO_NAMES,
        drift_modes: Mapping[str, SetMode | None] = NO_MODES,
    ) -> None:
        """Store all of it or nothing; once this returns, it survives a power cut.

        `names` are last names by UUID, of domains that have an entry, in this commit or before.
        """
        ...

    def by_keys(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return the entries stored under these idempotency keys."""
        ...

    def record_at(self, uuid: str, revision: int) -> Record | None:
        """Return a record as it was at a revision, or None."""
        ...

    def by_age(self, uuids: Sequence[str]) -> list[str]:
        """Return domains, all with a record, by their newest entries: the oldest first."""
        ...

    def prune(self, rule: Retention, now_ns: int) -> bool:
        """Delete some of the oldest entries that need not be kept, and pushes of that time.

        Nothing that `load`, `by_keys` and `last_incarnation` return changes by it. Returns whether
        there may be more to delete.
        """
        ...

    def last_incarnation(self, uuid: str) -> int:
        """Return the last incarnation of a domain that was committed; 0 if it had none here."""
        ...

    def close(self) -> None:
        """Close the file, which holds everything then."""
        ...
