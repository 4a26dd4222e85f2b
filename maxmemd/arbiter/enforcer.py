"""See limits through: what a push came to, and when to try again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from maxmemd.arbiter.event_log import log_event
from maxmemd.arbiter.instances import Instance
from maxmemd.histogram import SECONDS, Histogram
from maxmemd.pacing import Backoff
from maxmemd.policy.entries import PushRow
from maxmemd.policy.facts import XenFacts
from maxmemd.policy.kinds import PushKind
from maxmemd.policy.orders import Order, Outcome
from maxmemd.policy.states import PushState
from maxmemd.policy.verdicts import NO_EFFECTS
from maxmemd.ports import Clock, Pusher
from maxmemd.units import Memory

RETRY = Backoff(1.0, 60.0)

Due = tuple[Instance, Memory, int]
"""An instance, the limit that it is to have, and the revision that says so."""


@dataclass(slots=True)
class Enforcer:
    """Has limits pushed to Xen and notes how it went. Belongs to the arbiter's thread."""

    pusher: Pusher
    clock: Clock
    pushes: int = 0
    failures: int = 0
    took_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))

    def push(self, dues: Sequence[Due]) -> list[PushRow]:
        """Bring Xen and xenstore to limits and the instances' open effects, all at once.

        Never raises for what the world refuses: an instance's state says it, and when it is tried
        again. A domain that is gone is left as gone.
        """
        self.pushes += len(dues)
        began_s = self.clock.monotonic_s()
        outcomes = self.pusher.push([_order(instance, limit) for instance, limit, _ in dues])
        share_s = (self.clock.monotonic_s() - began_s) / max(1, len(dues))
        rows = []
        for (instance, _, revision), outcome in zip(dues, outcomes, strict=True):
            self._note(instance, outcome, revision)
            self.took_s.observe(share_s)
            rows.append(self._row(instance, revision, outcome.seen))
        return rows

    def _note(self, instance: Instance, outcome: Outcome, revision: int) -> None:
        seen, instance.shown = outcome.seen, None
        if outcome.gone:
            instance.state, instance.errno, instance.error = (
                PushState.GONE,
                outcome.errno,
                outcome.error,
            )
        elif seen is None:
            self._failed(instance, PushState.FAILED, outcome.errno, outcome.error)
        else:
            instance.effects = NO_EFFECTS
            instance.seen_pages = seen.max_pages
            if seen.max_pages == instance.wanted_pages:
                self.settle(instance, seen, revision)
            else:
                wrote = f"wrote {instance.wanted_pages} pages, Xen holds {seen.max_pages}"
                unseen = f"cannot see the maximum in force: {wrote}"
                self._failed(instance, PushState.MISMATCHED, None, unseen)

    def _row(self, instance: Instance, revision: int, read_back: XenFacts | None) -> PushRow:
        return PushRow(
            self.clock.wall_ns(),
            instance.uuid,
            instance.domid,
            instance.incarnation,
            revision,
            instance.wanted_pages,
            None if read_back is None else read_back.max_pages,
            instance.errno,
        )

    def settle(self, instance: Instance, seen: XenFacts, revision: int) -> None:
        """Note that Xen holds the limit; above it, the guest still has to shrink (A1)."""
        over = seen.tot_pages > seen.max_pages
        instance.state = PushState.OVER_LIMIT if over else PushState.APPLIED
        instance.seen_pages, instance.tot_pages = seen.max_pages, seen.tot_pages
        instance.settled_revision = revision
        instance.errno = instance.error = instance.noted_pages = None
        instance.failures = 0

    def _failed(
        self, instance: Instance, state: PushState, errno: int | None, error: str | None
    ) -> None:
        """Note what Xen said, and when to try again: after 1, 2, 4 ... at most 60 seconds."""
        self.failures += 1
        if (instance.state, instance.error) != (state, error):
            words = {"domid": instance.domid, "errno": errno, "error": error}
            mismatched = state is PushState.MISMATCHED
            kind = PushKind.MISMATCHED if mismatched else PushKind.FAILED
            log_event(instance.uuid, kind, words)
        instance.state, instance.errno, instance.error = state, errno, error
        wait = RETRY.wait_s(instance.failures)
        instance.failures += 1
        instance.retry_s = self.clock.monotonic_s() + wait


def _order(instance: Instance, limit: Memory) -> Order:
    """Note what is wanted of an instance, and return it as an order."""
    instance.wanted_pages = limit.max_pages
    raising = instance.seen_pages is None or limit.max_pages >= instance.seen_pages
    return Order(instance.domid, instance.uuid, limit, raising, instance.effects)
