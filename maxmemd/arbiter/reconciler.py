"""Xen against the ledger: whose maximum is not ours, and what to do about it.

Every poll asks Xen once for all domains. Nothing in Xen tells who wrote a maximum (A7), so a
foreign write is seen only here.
"""

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
from maxmemd.ports import Clock, Pusher

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
    pusher: Pusher
    clock: Clock
    drifts: int = 0

    def poll(self) -> None:
        """Observe every domain once and settle what differs.

        Raises HypervisorError when Xen cannot be asked, LedgerError when what must be decided
        cannot be kept; the other domains are settled all the same, and the next poll starts
        afresh.
        """
        facts = self.pusher.domains()
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
        if self.clock.monotonic_s() >= instance.retry_s:
            self.limits.push([DuePush(instance, record, instance.effects)])

    def _handle_drift(self, instance: Instance, fact: XenFacts, record: Record) -> None:
        """Act by mode on what another program wrote; each value has one entry in the history."""
        mode, seen = self.modes.mode_of(instance), fact.max_pages
        is_new = instance.drift_pages != seen
        if mode is DriftMode.RESTORE and instance.drift_pages == UNKNOWN_PAGES:
            is_new = False  # it has its entry, whatever the number was
        if is_new:
            self.drifts += 1
            if mode is DriftMode.RESTORE:
                self.fights.on_foreign_write(instance, seen)
        words: dict[str, object] = {
            "seen_pages": seen,
            "wanted_pages": instance.wanted_pages,
            "mode": mode,
        }
        if mode is DriftMode.ADOPT:
            record = self.lifecycle.adopt_maximum(record, fact, words)
            instance.on_compared(seen, record.max_pages)
        elif is_new and not instance.writes.is_fight:
            self.records.note(instance.uuid, EntryKind.DRIFT, words)
        why = self._why_left(instance, fact, record, mode, is_new=is_new)
        if why is not None:
            instance.on_drift(seen, why)
            if is_new:
                self.records.note_instance(instance)
        elif instance.wanted_pages == seen:
            self.limits.note_in_force(instance, fact, record)
        else:
            self._undo_drift(instance, fact, record)

    def _why_left(
        self, instance: Instance, fact: XenFacts, record: Record, mode: DriftMode, *, is_new: bool
    ) -> str | None:
        """Return why a foreign maximum is left alone for now; None where it is not."""
        if mode is DriftMode.ALERT:
            return (
                f"cannot keep {instance.wanted_pages} pages: another program wrote"
                f" {fact.max_pages}, which is left alone (drift = alert)"
            )
        if mode is DriftMode.ADOPT:
            return None
        return self.fights.why_left(instance, fact, record, is_new=is_new)

    def _undo_drift(self, instance: Instance, fact: XenFacts, record: Record) -> None:
        instance.on_drift(fact.max_pages)
        if instance.writes.is_fight:
            instance.on_fight_push(self.clock.monotonic_s())
        self.limits.push([DuePush(instance, record, instance.effects)])


def _is_drift(instance: Instance, record: Record) -> bool:
    """Whether this very limit was seen in Xen before, so that another program took it away.

    What was left alone stays drift, across a restart as well: it is not simply pushed over.
    """
    is_left = instance.push_state is PushState.PENDING and instance.drift_pages is not None
    return instance.settled_revision == record.revision and (instance.in_force or is_left)
