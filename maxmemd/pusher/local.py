"""Carry out orders on a hypervisor and a xenstore in this process, and read each one back."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from errno import EINVAL, ENOENT, ESRCH

from maxmemd.errors import DomainFault, DomainGone, HypervisorError, XenstoreError
from maxmemd.policy.facts import HostFacts, StoreFacts, XenFacts
from maxmemd.policy.orders import EffectOutcome, Order, Outcome
from maxmemd.policy.states import EffectState
from maxmemd.policy.verdicts import POD_TARGET, STATIC_MAX, TARGET
from maxmemd.ports import Hypervisor, LookResult, Xenstore
from maxmemd.units import Memory

LOG = logging.getLogger("maxmemd.pusher")


class FaultLog:
    """Faults of ours that single domains lead to, as errors; each is logged once, not each time."""

    def __init__(self) -> None:
        self._logged: dict[int, str] = {}

    def of(self, domid: int, surprise: Exception) -> DomainFault:
        """Return what was met with a domain and is no trouble of the world's, as an error."""
        why = f"{type(surprise).__name__}: {surprise}"
        if self._logged.get(domid) != why:
            self._logged[domid] = why
            LOG.error("a fault of maxmemd, met with domain %d", domid, exc_info=surprise)
        return DomainFault(f"cannot go on with domain {domid}: it is a fault of maxmemd ({why})")


@dataclass(slots=True)
class LocalPusher:
    """The Pusher of ports.py, in the caller's own process."""

    hypervisor: Hypervisor
    xenstore: Xenstore
    _faults: FaultLog = field(default_factory=FaultLog)

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
        return [self._look_bounded(domid, with_store=domid in stores) for domid in domids]

    def push(self, orders: Sequence[Order]) -> Sequence[Outcome]:
        """Carry out one order after the other."""
        return [self._push_bounded(order) for order in orders]

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` when domains may have come or gone."""
        self.xenstore.watch(on_change)

    def give_up(self) -> None:
        """Do nothing: Xen and xenstore are asked here, and no other process is waited for."""

    def close(self) -> None:
        """Close xenstore's handle, then Xen's: the watch ends before anything it leads to."""
        self.xenstore.close()
        self.hypervisor.close()

    def _look_bounded(self, domid: int, *, with_store: bool) -> LookResult:
        """Look at one domain; a fault of ours that it leads to is its own and not the others'."""
        try:
            return self._look(domid, with_store=with_store)
        except Exception as surprise:  # noqa: BLE001 - of one domain, and logged
            return LookResult(self._faults.of(domid, surprise), None)

    def _push_bounded(self, order: Order) -> Outcome:
        """Carry out one order, likewise."""
        try:
            return self._push(order)
        except Exception as surprise:  # noqa: BLE001 - of one domain, and logged
            return Outcome(None, error=str(self._faults.of(order.domid, surprise)))

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
        """Set the limit, whatever becomes of the effects; each of those is tried for itself."""
        tried: list[EffectOutcome] = []
        try:
            if not order.raising:
                # The maximum last: with the target first, the guest can begin to shrink; below a
                # maximum that is already lower, whatever it or its device model still populates
                # is refused.
                self._write_effects(order, (TARGET, STATIC_MAX, POD_TARGET), tried)
            self.hypervisor.set_max_mem(order.domid, order.limit)
            if order.raising:
                # The maximum first, and nothing without it: Xen refuses a PoD target above it
                # (A9), and a guest that sees its new target before the new maximum has its balloon
                # refused the pages.
                self._write_effects(order, (POD_TARGET, STATIC_MAX, TARGET), tried)
            seen = self._read_back(order)
        except HypervisorError as error:
            gone = isinstance(error, DomainGone) and not self._has_domain(order)
            return Outcome(None, gone, error.errno, str(error), tuple(tried))
        return Outcome(seen, effects=tuple(_dropped_pod(each, order, seen) for each in tried))

    def _write_effects(
        self, order: Order, names: Sequence[str], tried: list[EffectOutcome]
    ) -> None:
        """Write the effects in this order. Raises DomainGone when the domain is no more."""
        amounts = dict(order.effects.named())
        tried += [self._write(order, name, amounts[name]) for name in names if name in amounts]

    def _write(self, order: Order, name: str, amount: Memory) -> EffectOutcome:
        try:
            if name == POD_TARGET:  # above the maximum it would be EINVAL (A9)
                self.hypervisor.set_pod_target(order.domid, min(amount, order.limit))
            else:
                self.xenstore.write(
                    order.domid,
                    order.uuid,
                    target=amount if name == TARGET else None,
                    static_max=amount if name == STATIC_MAX else None,
                )
        except DomainGone as error:
            # Xen decides whether a domain is gone: one that it has may have no path in xenstore.
            if not self._has_domain(order):
                raise
            if name == POD_TARGET:
                return EffectOutcome(name, EffectState.FAILED, amount, error.errno, str(error))
            return self._without_home(order, name, amount)
        except (HypervisorError, XenstoreError) as error:
            return EffectOutcome(name, EffectState.FAILED, amount, error.errno, str(error))
        return EffectOutcome(name, EffectState.WRITTEN, amount)

    def _without_home(self, order: Order, name: str, amount: Memory) -> EffectOutcome:
        """Say why a living domain has nothing in xenstore that this could be written to."""
        home = f"/local/domain/{order.domid}"
        try:
            has_path = self.xenstore.facts(order.domid).has_path
        except XenstoreError as error:
            return EffectOutcome(name, EffectState.FAILED, amount, error.errno, str(error))
        why, number = f"xenstore has no {home}", ENOENT
        if has_path:
            why, number = f"{home}/vm in xenstore names another domain", ESRCH
        return EffectOutcome(name, EffectState.DROPPED, amount, number, f"cannot write it: {why}")

    def _read_back(self, order: Order) -> XenFacts:
        """Return the domain as Xen has it now. Raises DomainGone if its domid is another's (A6)."""
        seen = self.hypervisor.domain(order.domid)
        if not seen.is_domain(order.uuid, order.unique_id):
            raise DomainGone("read the maximum back", order.domid, ESRCH)
        return seen

    def _has_domain(self, order: Order) -> bool:
        """Whether Xen has this domain, or cannot say."""
        try:
            seen = self.hypervisor.domain(order.domid)
        except HypervisorError as error:
            return not isinstance(error, DomainGone)
        return seen.is_domain(order.uuid, order.unique_id) and not seen.dying


def _dropped_pod(effect: EffectOutcome, order: Order, seen: XenFacts) -> EffectOutcome:
    """Return how a PoD target ended: below a maximum that is in force EINVAL is no matter of A9."""
    is_held = seen.max_pages == order.limit.max_pages
    if effect.name == POD_TARGET and effect.errno == EINVAL and is_held:
        return effect._replace(state=EffectState.DROPPED)
    return effect
