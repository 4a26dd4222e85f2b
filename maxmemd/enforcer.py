"""Make one instance so: the order of effects, the read-back, and when to try again."""

from dataclasses import dataclass, field

from maxmemd.census import Instance
from maxmemd.errors import DomainGone, HypervisorError, XenstoreError
from maxmemd.policy.entries import PushRow
from maxmemd.policy.facts import XenFacts
from maxmemd.policy.verdicts import NO_EFFECTS
from maxmemd.ports import Clock, Hypervisor, Xenstore
from maxmemd.tally import SECONDS, Tally
from maxmemd.units import Memory

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0


@dataclass(slots=True)
class Enforcer:
    """Pushes limits to Xen and says how it went. Belongs to the arbiter's thread."""

    hypervisor: Hypervisor
    xenstore: Xenstore
    clock: Clock
    pushes: int = 0
    failures: int = 0
    took_s: Tally = field(default_factory=lambda: Tally(SECONDS))

    def push(self, instance: Instance, limit: Memory, revision: int) -> PushRow:
        """Bring Xen and xenstore to `limit` and the instance's open effects, and read back.

        Never raises for what the world refuses: the instance's state says it, and when it is
        tried again. A domain that is gone leaves the state "gone"; one that Xen still has is
        not gone, whatever a call answered.
        """
        self.pushes += 1
        began_s = self.clock.monotonic_s()
        instance.wanted_pages = limit.max_pages
        raising = instance.seen_pages is None or limit.max_pages >= instance.seen_pages
        try:
            if raising:
                self._raise(instance, limit)
            else:
                self._lower(instance, limit)
            self._read_back(instance, revision)
        except DomainGone as error:
            if self._is_here(instance):
                self._failed(instance, "failed", error.errno, str(error))
            else:
                instance.state, instance.errno, instance.error = "gone", error.errno, str(error)
        except (HypervisorError, XenstoreError) as error:
            self._failed(instance, "failed", error.errno, str(error))
        self.took_s.note(self.clock.monotonic_s() - began_s)
        return PushRow(
            self.clock.wall_ns(),
            instance.uuid,
            instance.domid,
            instance.incarnation,
            revision,
            instance.wanted_pages,
            instance.seen_pages,
            instance.errno,
        )

    def _raise(self, instance: Instance, limit: Memory) -> None:
        """Raise the maximum first: Xen refuses a PoD target above it (A9)."""
        self.hypervisor.set_max_mem(instance.domid, limit)
        self._set_pod_target(instance, limit)
        self._write(instance)

    def _lower(self, instance: Instance, limit: Memory) -> None:
        """Lower the target first, so that the guest shrinks before the maximum stops it."""
        self._write(instance)
        self._set_pod_target(instance, limit)
        self.hypervisor.set_max_mem(instance.domid, limit)

    def _set_pod_target(self, instance: Instance, limit: Memory) -> None:
        """Set what the guest may have populated; the maximum caps it (A9)."""
        target = instance.effects.pod_target
        if target is not None:
            self.hypervisor.set_pod_target(instance.domid, min(target, limit))

    def _write(self, instance: Instance) -> None:
        wanted = instance.effects
        if wanted.target is not None or wanted.static_max is not None:
            self.xenstore.write(
                instance.domid, instance.uuid, target=wanted.target, static_max=wanted.static_max
            )

    def _read_back(self, instance: Instance, revision: int) -> None:
        seen = self.hypervisor.domain(instance.domid)
        if seen.uuid != instance.uuid:
            raise DomainGone("read the maximum back", instance.domid, _ESRCH)
        instance.effects = NO_EFFECTS
        instance.seen_pages = seen.max_pages
        if seen.max_pages == instance.wanted_pages:
            self.settle(instance, seen, revision)
        else:
            wrote = f"wrote {instance.wanted_pages} pages, Xen holds {seen.max_pages}"
            self._failed(instance, "drifted", None, f"cannot see the maximum in force: {wrote}")

    def _is_here(self, instance: Instance) -> bool:
        """Whether Xen has this domain, or cannot say."""
        try:
            seen = self.hypervisor.domain(instance.domid)
        except HypervisorError as error:
            return not isinstance(error, DomainGone)
        return seen.uuid == instance.uuid and not seen.dying

    def settle(self, instance: Instance, seen: XenFacts, revision: int) -> None:
        """Note that Xen holds the limit; above it, the guest still has to shrink (A1)."""
        over = seen.tot_pages > seen.max_pages
        instance.state = "over_limit" if over else "applied"
        instance.seen_pages, instance.tot_pages = seen.max_pages, seen.tot_pages
        instance.settled_revision = revision
        instance.errno = instance.error = instance.noted_pages = None
        instance.failures = 0

    def _failed(self, instance: Instance, state: str, errno: int | None, error: str) -> None:
        """Note what Xen said, and when to try again: after 1, 2, 4 ... at most 60 seconds."""
        self.failures += 1
        instance.state, instance.errno, instance.error = state, errno, error
        wait = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(instance.failures, 10))
        instance.failures += 1
        instance.retry_s = self.clock.monotonic_s() + wait


_ESRCH = 3
