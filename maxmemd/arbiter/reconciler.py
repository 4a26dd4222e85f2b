"""Xen against the ledger: whose maximum is not ours, and what to do about it.

Every poll asks Xen once for all domains. Nothing in Xen tells who wrote a maximum (A7), so a
foreign write is seen only here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from maxmemd.arbiter.enforcer import Enforcer
from maxmemd.arbiter.instances import Instance
from maxmemd.arbiter.lifecycle import Lifecycle
from maxmemd.arbiter.records import Records
from maxmemd.errors import HypervisorError, LedgerError
from maxmemd.policy import lives
from maxmemd.policy.components import Record
from maxmemd.policy.facts import XenFacts
from maxmemd.policy.kinds import EntryKind
from maxmemd.policy.states import PushState
from maxmemd.policy.verdicts import NO_EFFECTS

RESTORE, ADOPT, ALERT = "restore", "adopt", "alert"
"""What to do about drift: push ours, take theirs as the operator's, or only say so."""
TROUBLED = (PushState.FAILED, PushState.MISMATCHED, PushState.OVER_LIMIT, EntryKind.DRIFT)
"""What is worth an entry when it ends."""


@dataclass(slots=True)
class Reconciler:
    """Brings Xen and the ledger together again. Belongs to the arbiter's thread."""

    mode: str
    lifecycle: Lifecycle
    records: Records
    enforcer: Enforcer
    drifts: int = 0
    healed: int = 0

    def poll(self) -> None:
        """Observe every domain once and settle what differs.

        Raises HypervisorError when Xen cannot be asked, LedgerError when what must be decided
        cannot be kept; the other domains are settled all the same, and the next poll starts
        afresh.
        """
        facts = self.enforcer.pusher.domains()
        trouble: LedgerError | None = None
        try:
            self.lifecycle.rescan(facts)
        except LedgerError as error:
            trouble = error
        by_domid = {fact.domid: fact for fact in facts}
        for instance in self.lifecycle.instances:
            fact = by_domid[instance.domid]
            record = self.records.get(instance.uuid)
            if record is None:
                continue
            try:
                self._settle(instance, fact, record)
            except LedgerError as error:
                trouble = error
        if trouble is not None:
            raise trouble

    def push(self, dues: Sequence[tuple[Instance, Record]], *, drifted: bool = False) -> None:
        """Push records' limits to their instances, all at once, and note how it went.

        `drifted` says that it undoes what another program wrote.
        """
        before = [EntryKind.DRIFT if drifted else instance.state for instance, _ in dues]
        for instance, _ in dues:
            if instance.building and instance.seen_pages != instance.wanted_pages:
                instance.theirs_pages = instance.seen_pages or None  # 0 is nobody's yet (A4)
        rows = self.enforcer.push([(i, record.limit, record.revision) for i, record in dues])
        for (instance, _), row, state in zip(dues, rows, before, strict=True):
            self.records.note_push(row)
            if instance.state is PushState.GONE:
                self.lifecycle.gone(instance)
            else:
                self._turned(instance, state)
                self.records.note_pushed(instance)

    def _turned(self, instance: Instance, before: PushState | EntryKind) -> None:
        """Note what no push tells: that a guest holds too much, and that trouble is over."""
        after = instance.state
        words: dict[str, object] = {"domid": instance.domid, "from": before}
        if after is PushState.OVER_LIMIT is not before:
            words |= {"max_pages": instance.wanted_pages, "tot_pages": instance.tot_pages}
            self.records.note(instance.uuid, EntryKind.OVER_LIMIT, words)
        elif after is PushState.APPLIED and before in TROUBLED:
            self.records.note(instance.uuid, EntryKind.RECOVERED, words)
        self.healed += before is EntryKind.DRIFT and instance.in_force

    def push_beside(self, instance: Instance, record: Record) -> None:
        """Raise an instance that is being built while another one of its domain was asked about.

        Where Xen cannot be asked about it now, the next poll does it.
        """
        try:
            fact = self.enforcer.pusher.domain(instance.domid)
        except HypervisorError:
            return
        if fact.uuid == instance.uuid and not fact.dying:
            instance.seen_pages, instance.wanted_pages = fact.max_pages, record.max_pages
            self._beside_a_build(instance, fact, record)

    def _settle(self, instance: Instance, fact: XenFacts, record: Record) -> None:
        """Bring one instance and its record together."""
        instance.seen_pages = fact.max_pages
        instance.wanted_pages = wanted = record.max_pages
        if wanted == fact.max_pages and instance.effects is NO_EFFECTS:
            self._agree(instance, fact, record)
        elif instance.unsure or instance.building:
            self._beside_a_build(instance, fact, record)
        elif self._was_in_force(instance, record):
            self._drifted(instance, fact, record)
        elif self.enforcer.clock.monotonic_s() >= instance.retry_s:
            self.push([(instance, record)])

    def _beside_a_build(self, instance: Instance, fact: XenFacts, record: Record) -> None:
        """Raise what the toolstack set, never lower it; whoever wrote it, it is not drift.

        xenstore's nodes wait until it runs: libxl writes them last (libxl__build_post).
        """
        wanted = instance.wanted_pages
        if lives.may_push(wanted_pages=wanted, seen_pages=fact.max_pages, building=True):
            open_effects, instance.effects = instance.effects, NO_EFFECTS
            self.push([(instance, record)])
            instance.effects = open_effects
            if instance.in_force and open_effects is not NO_EFFECTS:
                instance.state = PushState.PENDING
            if instance.state is not PushState.GONE:
                self.records.note_instance(instance)
        elif instance.in_force:
            instance.state = PushState.PENDING
            self.records.note_instance(instance)

    def _was_in_force(self, instance: Instance, record: Record) -> bool:
        """Whether this very limit was seen in Xen before, so that somebody else took it away."""
        left_alone = self.mode == ALERT and instance.noted_pages is not None
        return instance.settled_revision == record.revision and (instance.in_force or left_alone)

    def _agree(self, instance: Instance, fact: XenFacts, record: Record) -> None:
        was_drift = instance.noted_pages is not None
        before = (instance.state, instance.settled_revision)
        self.enforcer.settle(instance, fact, record.revision)
        if before != (instance.state, instance.settled_revision):
            self._turned(instance, EntryKind.DRIFT if was_drift else before[0])
            self.records.note_instance(instance)

    def _drifted(self, instance: Instance, fact: XenFacts, record: Record) -> None:
        """Somebody else wrote this domain's maximum: act by mode, and say so in the history."""
        if self.mode == ALERT and instance.noted_pages == fact.max_pages:
            return
        self.drifts += 1
        words: dict[str, object] = {
            "seen_pages": fact.max_pages,
            "wanted_pages": instance.wanted_pages,
            "mode": self.mode,
        }
        if self.mode == ADOPT:
            record = self.lifecycle.take_theirs(record, fact, words)
            instance.wanted_pages = record.max_pages
        else:
            self.records.note(instance.uuid, EntryKind.DRIFT, words)
        if self.mode == ALERT:
            self._alarm(instance, fact)
        elif instance.wanted_pages == fact.max_pages:
            self._agree(instance, fact, record)
        else:
            self.push([(instance, record)], drifted=True)

    def _alarm(self, instance: Instance, fact: XenFacts) -> None:
        instance.state, instance.noted_pages = PushState.PENDING, fact.max_pages
        instance.error = (
            f"cannot keep {instance.wanted_pages} pages: another program wrote {fact.max_pages},"
            " and the configuration says to leave it (drift = alert)"
        )
        self.records.note_instance(instance)
