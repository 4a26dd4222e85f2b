"""Carry out orders on a hypervisor and a xenstore in this process, and read each one back."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from errno import ESRCH

from maxmemd.errors import DomainGone, HypervisorError, XenstoreError
from maxmemd.policy.facts import HostFacts, StoreFacts, XenFacts
from maxmemd.policy.orders import Order, Outcome
from maxmemd.ports import Hypervisor, LookResult, Xenstore


@dataclass(slots=True)
class LocalPusher:
    """The Pusher of ports.py, in the caller's own process."""

    hypervisor: Hypervisor
    xenstore: Xenstore

    def domains(self) -> Sequence[XenFacts]:
        """Return every domain by rising domid."""
        return self.hypervisor.domains()

    def domain(self, domid: int) -> XenFacts:
        """Return one domain."""
        return self.hypervisor.domain(domid)

    def host(self) -> HostFacts:
        """Return the host's totals."""
        return self.hypervisor.host()

    def facts(self, domid: int) -> StoreFacts:
        """Return a domain's facts from xenstore."""
        return self.xenstore.facts(domid)

    def look(self, domids: Sequence[int], *, stores: Collection[int]) -> Sequence[LookResult]:
        """Look at several domains, and at the nodes of those in `stores`."""
        return [self._look(domid, with_store=domid in stores) for domid in domids]

    def push(self, orders: Sequence[Order]) -> Sequence[Outcome]:
        """Carry out one order after the other."""
        return [self._push(order) for order in orders]

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` when domains may have come or gone."""
        self.xenstore.watch(on_change)

    def close(self) -> None:
        """Close xenstore's handle, then Xen's: the watch ends before anything it leads to."""
        self.xenstore.close()
        self.hypervisor.close()

    def _look(self, domid: int, *, with_store: bool) -> LookResult:
        xen: XenFacts | HypervisorError
        store: StoreFacts | XenstoreError | None = None
        try:
            xen = self.hypervisor.domain(domid)
        except HypervisorError as error:
            return LookResult(error, None)
        if with_store:
            try:
                store = self.xenstore.facts(domid)
            except XenstoreError as error:
                store = error
        return LookResult(xen, store)

    def _push(self, order: Order) -> Outcome:
        try:
            if order.raising:
                self._raise(order)
            else:
                self._lower(order)
            return Outcome(self._read_back(order))
        except DomainGone as error:
            # Xen decides whether a domain is gone: xenstore's nodes go first when it is destroyed.
            return Outcome(None, not self._has_domain(order), error.errno, str(error))
        except (HypervisorError, XenstoreError) as error:
            return Outcome(None, gone=False, errno=error.errno, error=str(error))

    def _raise(self, order: Order) -> None:
        # The maximum first: Xen refuses a PoD target above it (A9), and a guest that sees its new
        # target before the new maximum has its balloon refused the pages.
        self.hypervisor.set_max_mem(order.domid, order.limit)
        self._set_pod_target(order)
        self._write_nodes(order)

    def _lower(self, order: Order) -> None:
        # The maximum last: with the target first, the guest can begin to shrink; below a maximum
        # that is already lower, whatever it or its device model still populates is refused.
        self._write_nodes(order)
        self._set_pod_target(order)
        self.hypervisor.set_max_mem(order.domid, order.limit)

    def _set_pod_target(self, order: Order) -> None:
        target = order.effects.pod_target
        if target is not None:  # above the maximum it would be EINVAL (A9)
            self.hypervisor.set_pod_target(order.domid, min(target, order.limit))

    def _write_nodes(self, order: Order) -> None:
        target, static_max = order.effects.target, order.effects.static_max
        if target is not None or static_max is not None:
            self.xenstore.write(order.domid, order.uuid, target=target, static_max=static_max)

    def _read_back(self, order: Order) -> XenFacts:
        """Return the domain as Xen has it now. Raises DomainGone if its domid is another's (A6)."""
        seen = self.hypervisor.domain(order.domid)
        if seen.uuid != order.uuid:
            raise DomainGone("read the maximum back", order.domid, ESRCH)
        return seen

    def _has_domain(self, order: Order) -> bool:
        """Whether Xen has this domain, or cannot say."""
        try:
            seen = self.hypervisor.domain(order.domid)
        except HypervisorError as error:
            return not isinstance(error, DomainGone)
        return seen.uuid == order.uuid and not seen.dying
