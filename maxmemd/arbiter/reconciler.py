"""Xen against the ledger: whose maximum is not ours, and what to do about it.

Every poll asks Xen once for all domains. Nothing in Xen tells who wrote a maximum (A7), so a
foreign write is seen only here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from maxmemd.arbiter.drift_modes import DriftModes
from maxmemd.arbiter.fights import Fights
from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.lifecycle import Lifecycle
from maxmemd.arbiter.limit_pusher import DuePush, LimitPusher
from maxmemd.arbiter.records import Records
from maxmemd.errors import LedgerError
from maxmemd.policy.components import Record
from maxmemd.policy.drift import DriftMode
from maxmemd.policy.facts import XenFacts
from maxmemd.policy.kinds import EntryKind
from maxmemd.policy.states import PushState
from maxmemd.policy.verdicts import NO_EFFECTS

UNKNOWN_PAGES = 0
"""`Instance.drift_pages` where it is not known which maximum was left alone."""


@dataclass(slots=True)
class Reconciler:
    """Brings Xen and the ledger together again. Belongs to the arbiter's thread."""

    modes: DriftModes
    fights: Fights
    lifecycle: Lifecycle
    records: Records
    limits: LimitPusher
    drifts: int = 0

    def poll(self, facts: Sequence[XenFacts]) -> None:
        """Settle what differs in any domain, by what Xen has just said of all of them.

        Raises LedgerError when what must be decided cannot be kept; the other domains are settled
        all the same, and the next poll starts afresh.
        """
        trouble: LedgerError | None = None
        try:
            self.lifecycle.rescan(facts)
        except LedgerError as error:
            trouble = error
        by_domid = {fact.domid: fact for fact in facts}
        for instance in self.lifecycle.instances:
            record = self.records.get(instance.uuid)
            if record is None:
                continue
            try:
                self._settle(instance, by_domid[instance.domid], record)
            except LedgerError as error:
                trouble = error
            except Exception as surprise:  # noqa: BLE001 - of one domain, and noted
                self.lifecycle.surprises.note(instance.uuid, surprise)
        self.fights.publish()
        if trouble is not None:
            raise trouble

    def _settle(self, instance: Instance, fact: XenFacts, record: Record) -> None:
        """Bring one instance and its record together. Every poll, for every domain."""
        wanted, seen = record.max_pages, fact.max_pages
        if instance.is_unsettled:
            if self.lifecycle.instances.is_left_behind(instance):
                return  # no stream fills it: it stays as it is
            wanted = self.lifecycle.builds.pages_in_build(instance, seen, record)
        instance.on_compared(seen, wanted)
        self.limits.compare_target(instance, record)
        if instance.writes.is_fight:
            self.fights.watch(instance)
        if wanted == seen:
            self.limits.note_in_force(instance, fact, record)
            if instance.effects is NO_EFFECTS or instance.is_unsettled:
                return
        elif instance.is_unsettled:
            self.limits.raise_build(instance, fact, record)
            return
        elif _is_drift(instance, record):
            self._handle_drift(instance, fact, record)
            return
        self.limits.push_if_due(instance, record)

    def _handle_drift(self, instance: Instance, fact: XenFacts, record: Record) -> None:
        """Act by mode on what another program wrote; each value has one entry in the history."""
        mode, seen = self.modes.mode_of(instance), fact.max_pages
        if mode is DriftMode.ADOPT:
            self._handle_adoption(instance, fact, record)
            return
        is_new = instance.drift_pages != seen
        if mode is DriftMode.RESTORE and instance.drift_pages == UNKNOWN_PAGES:
            is_new = False  # it has its entry, whatever the number was
        if is_new:
            self.drifts += 1
            if mode is DriftMode.RESTORE:
                self.fights.on_foreign_write(instance, seen)
        is_told = is_new and not instance.writes.is_fight
        if mode is DriftMode.ALERT:
            is_told = self._is_noted_now(instance, is_new=is_new)
        if is_told:
            self.records.note(instance.uuid, EntryKind.DRIFT, _words(instance, fact, mode))
        why = self._why_left(instance, fact, record, mode, is_new=is_new)
        if why is None:
            self._undo_drift(instance, fact, record)
            return
        is_untold = mode is DriftMode.ALERT and is_new and not is_told
        before = instance.drift_pages
        # what was not noted for now is new again with the next poll
        instance.on_drift(before if is_untold and before is not None else seen, why)
        if is_new:
            self.records.note_instance(instance)

    def _is_noted_now(self, instance: Instance, *, is_new: bool) -> bool:
        """Whether a maximum that is left alone has an entry now, and not after a pause."""
        if not is_new or self.fights.pause_s(instance) > 0:
            return False
        self.fights.on_foreign_taken(instance)
        return True

    def _handle_adoption(self, instance: Instance, fact: XenFacts, record: Record) -> None:
        """Adopt what another program wrote; of a program that writes on and on, what stands."""
        if instance.drift_pages != fact.max_pages:
            self.drifts += 1
        wait_s = self.fights.pause_s(instance)
        if wait_s <= 0:
            self._adopt(instance, fact, record)
            return
        why = (
            f"cannot adopt each maximum of a program that writes again and again: it wrote"
            f" {fact.max_pages} pages, and what stands in {wait_s:.0f} s is adopted"
        )
        is_new = instance.drift_pages != fact.max_pages
        instance.on_adoption_put_off(fact.max_pages, why)
        if is_new:
            self.records.note_instance(instance)

    def adopt_put_off(self, instance: Instance, fact: XenFacts) -> None:
        """Adopt what stands before a client decides on it. Raises LedgerError."""
        record = self.records.get(instance.uuid)
        differs = record is not None and record.max_pages != fact.max_pages
        if record is not None and differs and self.modes.mode_of(instance) is DriftMode.ADOPT:
            instance.on_compared(fact.max_pages, record.max_pages)
            self._adopt(instance, fact, record)

    def _adopt(self, instance: Instance, fact: XenFacts, record: Record) -> None:
        words = _words(instance, fact, DriftMode.ADOPT)
        adopted = self.lifecycle.adopt_maximum(record, fact, words)
        self.fights.on_foreign_taken(instance)
        instance.on_compared(fact.max_pages, adopted.max_pages)
        if adopted.max_pages == fact.max_pages:
            self.limits.note_in_force(instance, fact, adopted)
        else:
            self._undo_drift(instance, fact, adopted)

    def _why_left(
        self, instance: Instance, fact: XenFacts, record: Record, mode: DriftMode, *, is_new: bool
    ) -> str | None:
        """Return why a foreign maximum is left alone for now; None where it is not."""
        if mode is DriftMode.ALERT:
            return (
                f"cannot keep {instance.wanted_pages} pages: another program wrote"
                f" {fact.max_pages}, which is left alone (drift = alert)"
            )
        return self.fights.why_left(instance, fact, record, is_new=is_new)

    def _undo_drift(self, instance: Instance, fact: XenFacts, record: Record) -> None:
        instance.on_drift(fact.max_pages)
        self.fights.on_undo(instance)
        self.limits.push([DuePush(instance, record, instance.effects)])


def _words(instance: Instance, fact: XenFacts, mode: DriftMode) -> dict[str, object]:
    """Return what the history keeps of a foreign maximum."""
    wanted = instance.wanted_pages
    return {"seen_pages": fact.max_pages, "wanted_pages": wanted, "mode": mode}


def _is_drift(instance: Instance, record: Record) -> bool:
    """Whether this very limit was seen in Xen before, so that another program took it away.

    What was left alone stays drift, across a restart as well: it is not simply pushed over.
    """
    is_left = instance.push_state is PushState.PENDING and instance.drift_pages is not None
    return instance.settled_revision == record.revision and (instance.in_force or is_left)
