"""Pushes of limits: in which order, what they came to, and what the history has of it.

What is in force is an instance's state (policy/states.py); no caller has to look at a push's end.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from errno import ENOENT
from typing import NamedTuple

from maxmemd.arbiter.event_log import log_event
from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.lifecycle import Lifecycle
from maxmemd.arbiter.records import Records
from maxmemd.errors import HypervisorError
from maxmemd.histogram import SECONDS, Histogram
from maxmemd.policy import lives
from maxmemd.policy.components import Record
from maxmemd.policy.entries import PushRow
from maxmemd.policy.facts import XenFacts
from maxmemd.policy.kinds import EntryKind, PushKind
from maxmemd.policy.orders import EffectOutcome, Order, Outcome
from maxmemd.policy.outlook import target_above_limit
from maxmemd.policy.states import TROUBLED, EffectState, PushState
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from maxmemd.ports import Clock, Pusher
from maxmemd.units import Memory


class DuePush(NamedTuple):
    """An instance, the record that it is to have in force, and what to write besides.

    `limit` is given where it is another one than the record's, while the domain is built.
    """

    instance: Instance
    record: Record
    effects: Effects
    limit: Memory | None = None


@dataclass(slots=True)
class LimitPusher:
    """Brings limits into force. Belongs to the arbiter's thread.

    `healed` counts foreign maxima that were put right.
    """

    lifecycle: Lifecycle
    records: Records
    pusher: Pusher
    clock: Clock
    healed: int = 0
    pushes: int = 0
    failures: int = 0
    took_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))

    def push(self, dues: Sequence[DuePush]) -> None:
        """Push limits and effects to instances, all at once in this order, and note how it went.

        Never raises for what the world refuses: an instance's state says it, and when it is tried
        again. A domain that is gone is closed.
        """
        before = [(due.instance.push_state, due.instance.drift_pages is not None) for due in dues]
        failures = [_failures(due.instance) for due in dues]
        orders = [_order_of(due) for due in dues]
        began_s = self.clock.monotonic_s()
        outcomes = self.pusher.push(orders)
        share_s = (self.clock.monotonic_s() - began_s) / max(1, len(dues))
        self.pushes += len(dues)
        # All outcomes are noted before anything is concluded from one: to close a domain that is
        # gone looks at the other instances of its UUID, whose outcomes may come later.
        for due, outcome, failed_before in zip(dues, outcomes, failures, strict=True):
            self.took_s.observe(share_s)
            try:
                self._note_outcome(due, outcome, failed_before)
            except Exception as surprise:  # noqa: BLE001 - of one domain, and noted
                self.lifecycle.surprises.note(due.instance.uuid, surprise)
        for due, outcome, (state, was_drift) in zip(dues, outcomes, before, strict=True):
            instance = due.instance
            self.records.note_push(self._row_of(due, outcome))
            if instance.push_state is PushState.GONE:
                self.lifecycle.close(instance, still_listed=not outcome.gone)
            else:
                self._note_change(instance, state, was_drift=was_drift)
                self.compare_target(instance, due.record)
                self.records.note_pushed(instance)

    def push_if_due(self, instance: Instance, record: Record) -> None:
        """Push a record's limit to an instance, unless a push failed a short while ago."""
        if self.clock.monotonic_s() >= instance.retry_s:
            self.push([DuePush(instance, record, instance.effects)])

    def push_beside(self, instance: Instance, record: Record) -> None:
        """Raise an instance that is being built while another one of its domain was asked about.

        Where Xen cannot be asked about it now, the next poll does it.
        """
        try:
            fact = self.pusher.domain(instance.domid)
        except HypervisorError:
            return
        if instance.is_seen_in(fact) and not fact.dying:
            wanted = self.lifecycle.builds.pages_in_build(instance, fact.max_pages, record)
            instance.on_compared(fact.max_pages, wanted)
            self.raise_build(instance, fact, record)

    def due(self, instance: Instance, record: Record) -> DuePush:
        """Return the push that brings a decision into force, above it what a build needs."""
        pages = record.max_pages
        if instance.is_unsettled:
            pages = self.lifecycle.builds.pages_in_build(instance, instance.seen_pages or 0, record)
        return DuePush(instance, record, instance.effects, _limit_in_build(record, pages))

    def _note_outcome(
        self, due: DuePush, outcome: Outcome, failed_before: Collection[EffectOutcome]
    ) -> None:
        instance, seen = due.instance, outcome.seen
        before = (instance.push_state, instance.error)
        if outcome.gone or _is_being_destroyed(instance, outcome):
            instance.on_gone(
                outcome.errno, outcome.error or "cannot write it: it is being destroyed"
            )
            return
        if due.effects is instance.effects:
            instance.on_effects_pushed(outcome.effects)
        self._note_effects(instance, failed_before)
        if seen is None:
            instance.on_push_failed(outcome.errno, outcome.error, self.clock.monotonic_s())
        elif seen.max_pages == instance.wanted_pages:
            instance.on_in_force(seen, due.record.revision)
            if not _failures(instance):
                return
            instance.on_effects_failed(self.clock.monotonic_s())
        else:
            instance.on_push_mismatched(seen.max_pages, self.clock.monotonic_s())
        self.failures += 1
        if instance.in_force:
            return
        if (instance.push_state, instance.error) != before:  # the same again is logged once
            words = {"domid": instance.domid, "errno": instance.errno, "error": instance.error}
            kind = PushKind.FAILED if seen is None else PushKind.MISMATCHED
            log_event(instance.uuid, kind, words)

    def _note_effects(self, instance: Instance, failed_before: Collection[EffectOutcome]) -> None:
        """Say what could not be written: in the history where that is the end of it."""
        for each in instance.effect_outcomes:
            words = {"domid": instance.domid, "effect": each.name, "amount_kib": each.amount.kib}
            words |= {"errno": each.errno, "error": each.error}
            if each.state is EffectState.DROPPED:
                self.records.note(instance.uuid, EntryKind.EFFECT_DROPPED, words)
            elif each.state is EffectState.FAILED and each not in failed_before:
                log_event(instance.uuid, PushKind.FAILED, words)

    def _row_of(self, due: DuePush, outcome: Outcome) -> PushRow:
        instance = due.instance
        return PushRow(
            self.clock.wall_ns(),
            instance.uuid,
            instance.domid,
            instance.incarnation,
            due.record.revision,
            instance.wanted_pages,
            None if outcome.seen is None else outcome.seen.max_pages,
            outcome.errno,
        )

    def _note_change(self, instance: Instance, before: PushState, *, was_drift: bool) -> None:
        """Note what no push tells: that a guest holds too much, and that trouble is over."""
        after = instance.push_state
        is_drift = was_drift and before is PushState.PENDING
        words: dict[str, object] = {
            "domid": instance.domid,
            "from": EntryKind.DRIFT if is_drift else before,
        }
        if after is PushState.OVER_LIMIT and before is not PushState.OVER_LIMIT:
            words |= {"max_pages": instance.wanted_pages, "tot_pages": instance.tot_pages}
            self.records.note(instance.uuid, EntryKind.OVER_LIMIT, words)
        elif after is PushState.APPLIED and (is_drift or before in TROUBLED):
            if instance.writes.is_fight and is_drift:
                return  # for a moment only, and its end is noted
            self.records.note(instance.uuid, EntryKind.RECOVERED, words)
        if was_drift and instance.in_force:
            self.healed += 1

    def compare_target(self, instance: Instance, record: Record) -> None:
        """Note when a target comes to be above the limit, and when it is not any more."""
        above = None if instance.is_unsettled else target_above_limit(record, instance.known)
        if above == instance.target_above:
            return
        was_above = instance.target_above is not None
        instance.on_target_compared(above)
        if above is None:
            words = {"domid": instance.domid, "from": EntryKind.TARGET_ABOVE_LIMIT}
            self.records.note(instance.uuid, EntryKind.RECOVERED, words)
        elif not was_above:
            words = {"domid": instance.domid, **above._asdict()}
            self.records.note(instance.uuid, EntryKind.TARGET_ABOVE_LIMIT, words)

    def raise_build(self, instance: Instance, fact: XenFacts, record: Record) -> None:
        """Raise what the toolstack set, never lower it (A4); during a build no write is drift.

        xenstore's nodes wait until it runs: libxl writes them last (libxl__build_post) and would
        overwrite ours.
        """
        wanted = instance.wanted_pages
        if lives.may_push(wanted_pages=wanted, seen_pages=fact.max_pages, building=True):
            limit = _limit_in_build(record, wanted)
            self.push([DuePush(instance, record, NO_EFFECTS, limit)])
            if instance.push_state is PushState.GONE:  # closed by the push, which noted its end
                return
            self.records.note_instance(instance)
        elif instance.in_force:
            instance.on_put_off()
            self.records.note_instance(instance)

    def note_in_force(self, instance: Instance, fact: XenFacts, record: Record) -> None:
        """Note that Xen holds the limit. What changes nothing writes nothing: polls are many."""
        state, revision = instance.push_state, instance.settled_revision
        was_drift = instance.drift_pages is not None
        instance.on_in_force(fact, record.revision)
        if instance.push_state is not state or instance.settled_revision != revision:
            self._note_change(instance, state, was_drift=was_drift)
            self.records.note_instance(instance)


def _limit_in_build(record: Record, pages: int) -> Memory | None:
    """Return what a build is allowed where that is another limit than the record's."""
    return None if pages == record.max_pages else Memory.of_pages(pages)


def _order_of(due: DuePush) -> Order:
    """Let the instance know what is pushed, and return it as an order."""
    instance = due.instance
    limit = due.record.limit if due.limit is None else due.limit
    instance.on_push_begun(limit.max_pages)
    seen = instance.seen_pages
    raising = seen is None or limit.max_pages >= seen
    return Order(instance.domid, instance.uuid, limit, raising, due.effects, instance.unique_id)


def _failures(instance: Instance) -> list[EffectOutcome]:
    return [each for each in instance.effect_outcomes if each.state is EffectState.FAILED]


def _is_being_destroyed(instance: Instance, outcome: Outcome) -> bool:
    """Whether a push met a domain whose path in xenstore its toolstack has removed by now."""
    lost = any(e.state is EffectState.DROPPED and e.errno == ENOENT for e in outcome.effects)
    return outcome.seen is not None and outcome.seen.is_being_destroyed(
        had_path=instance.had_path, has_path=not lost
    )
