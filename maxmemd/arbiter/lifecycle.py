"""Who came and who went: newcomers get a record or go on with theirs, the gone are closed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from maxmemd.arbiter.codec import DAEMON, entry_of, row_of, to_json_text
from maxmemd.arbiter.enforcer import Enforcer
from maxmemd.arbiter.instances import Instance, InstanceTable
from maxmemd.arbiter.records import Records
from maxmemd.errors import XenstoreError
from maxmemd.policy import lives
from maxmemd.policy.clauses import Rules
from maxmemd.policy.components import Record
from maxmemd.policy.entries import BORN, Birth, Entry
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.kinds import EntryKind
from maxmemd.policy.states import PushState
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from maxmemd.policy.wishes import CREATED, Build


@dataclass(slots=True)
class Lifecycle:
    """Keeps the census and the records in step with Xen. Belongs to the arbiter's thread."""

    rules: Rules
    instances: InstanceTable
    records: Records
    enforcer: Enforcer
    keep_gone_s: float
    rebooting: set[str]
    """UUIDs whose last instance ended, or is ending, by a reboot."""
    _gone_since_s: dict[str, float] = field(default_factory=dict)
    _owed: dict[str, Effects] = field(default_factory=dict)

    def rescan(self, facts: Sequence[XenFacts]) -> None:
        """Bring the census to what Xen says, and every instance to a record.

        Raises LedgerError; what could not be decided is decided by the next call.
        """
        self._note_reboots(facts)
        began, ended = self.instances.compare(facts, self.enforcer.clock.wall_ns())
        for instance in ended:
            self.gone(instance)
        by_domid = {fact.domid: fact for fact in facts}
        for instance in began:
            self._began(instance, by_domid[instance.domid])
        self._name([instance for instance in self.instances if instance.name is None])
        self._follow_all([i for i in self.instances if i.building or i.unsure], by_domid)

    def announced(self, instance: Instance, wish: Build) -> None:
        """Take a build as its toolstack announced it: no more guesses about this instance.

        What an earlier instance was still owed is not a created one's.
        """
        instance.announced, instance.tracking, instance.unsure = True, False, False
        self.rebooting.discard(instance.uuid)
        if wish.life == CREATED:
            self._owed.pop(instance.uuid, None)

    def claimed(self, instance: Instance) -> None:
        """Guess no more about an instance whose limit was said, even while it is being built."""
        instance.announced, instance.tracking, instance.unsure = True, False, False

    def rename(self) -> None:
        """Read every domain's name again: xl rename tells nobody."""
        self._name(list(self.instances))

    def note_all(self) -> None:
        """Note every instance again, so that there is something to find out by writing it."""
        for instance in self.instances:
            self.records.note_instance(instance)

    def gone(self, instance: Instance) -> None:
        """Close an instance; its record stays, and what was not yet written is its next life's."""
        self.instances.remove(instance)
        others = self.instances.of_uuid(instance.uuid)
        if instance.effects is not NO_EFFECTS and all(other.unsure for other in others):
            self._owed[instance.uuid] = instance.effects
        words: dict[str, object] = {"domid": instance.domid, "incarnation": instance.incarnation}
        if instance.uuid in self.rebooting:
            words |= {"reboot": True, "boot": instance.boot}
        self.records.note(instance.uuid, EntryKind.INSTANCE_ENDED, words)
        self.records.note_instance(instance, ended_ns=self.enforcer.clock.wall_ns())

    def forget(self) -> None:
        """Drop records whose domain has been away for longer than they are kept.

        Only time that this process has seen pass counts, so that no jump of the host's clock
        can drop anything. Raises LedgerError.
        """
        now_s = self.enforcer.clock.monotonic_s()
        away = self.records.uuids() - self.instances.uuids()
        self._gone_since_s = {uuid: self._gone_since_s.get(uuid, now_s) for uuid in away}
        since_s = sorted(self._gone_since_s.items())
        old = [uuid for uuid, since in since_s if now_s - since > self.keep_gone_s]
        if old:
            for uuid in old:
                self.records.note(uuid, EntryKind.FORGOTTEN, {})
            self.records.commit([], {}, forgotten=old)

    def store(self, instance: Instance) -> StoreFacts:
        """Return what xenstore says of an instance; nothing where it cannot be asked."""
        return self._asked(instance) or StoreFacts(name=instance.name)

    def take_theirs(self, record: Record, fact: XenFacts, words: dict[str, object]) -> Record:
        """Make Xen's maximum the operator's: drift that is adopted. Raises LedgerError."""
        taken = lives.with_maximum(self.rules, record, fact.max_pages)
        self.records.commit(
            [entry_of(taken, EntryKind.DRIFT, DAEMON, to_json_text(words))], {taken.uuid: taken}
        )
        return taken

    def _note_reboots(self, facts: Sequence[XenFacts]) -> None:
        """Remember whose shutdown was a reboot, until the next instance runs or is announced."""
        for fact in facts:
            if fact.shutdown and fact.shutdown_reason == lives.REBOOT:
                self.rebooting.add(fact.uuid)
            elif fact.shutdown or fact.started:
                self.rebooting.discard(fact.uuid)

    def _began(self, instance: Instance, fact: XenFacts) -> None:
        words = {
            "domid": instance.domid,
            "incarnation": instance.incarnation,
            "building": instance.building,
            "max_pages": fact.max_pages,
        }
        self.records.note(instance.uuid, EntryKind.INSTANCE_BEGAN, words)
        self.records.note_instance(instance)

    def _asked(self, instance: Instance) -> StoreFacts | None:
        try:
            return self.enforcer.pusher.facts(instance.domid)
        except XenstoreError:
            return None

    def _name(self, instances: Sequence[Instance]) -> None:
        """Ask xenstore for names; a domain whose name cannot be had is asked again later."""
        for instance in instances:
            try:
                instance.name = self.enforcer.pusher.facts(instance.domid).name
            except XenstoreError:
                return

    def _follow_all(self, newcomers: Sequence[Instance], facts: Mapping[int, XenFacts]) -> None:
        """Decide for all newcomers in one transaction. Raises LedgerError, and nothing counts."""
        decided = _Decided(self.records)
        courses = {i: self._follow(decided, i, facts[i.domid]) for i in newcomers}
        births = {i: _birth(i, facts[i.domid], course) for i, course in courses.items()}
        moved = [row_of(i, birth=birth) for i, birth in births.items() if birth != i.birth]
        if decided.entries:
            self.records.commit(decided.entries, decided.records, instances=moved)
        else:
            self.records.note_rows(moved)
        for instance, course in courses.items():
            fact, before = facts[instance.domid], instance.birth
            instance.tracking, instance.unsure = course
            instance.building = not fact.started
            early = instance.unsure or instance.building
            owed = NO_EFFECTS if early else self._owed.pop(instance.uuid, NO_EFFECTS)
            if instance.tracking or instance.uuid in decided.records:
                self._agree(instance, fact, decided.get(instance.uuid))
            elif owed is not NO_EFFECTS:
                instance.effects, instance.state = owed.then(instance.effects), PushState.PENDING
            elif before.unsure and not early:
                self._understood(instance, fact, decided.get(instance.uuid))

    def _follow(self, decided: "_Decided", instance: Instance, fact: XenFacts) -> tuple[bool, bool]:
        """Decide what a newcomer has to do with the record; return its `tracking` and `unsure`.

        A record follows the build of a domain that nobody decided on before, until it runs; a
        maximum of 0 is nobody's yet (A4). Whether another one goes on with its record is asked of
        xenstore once it runs. Where nothing depends on xenstore it is not asked: it may hang.
        """
        if instance.announced:
            return False, False
        record, building = decided.get(instance.uuid), not fact.started
        if record is None and building and fact.max_pages == 0:
            return True, True
        if record is None or instance.tracking:
            self._take(decided, instance, fact, record)
            return building, building
        if building or not instance.unsure:
            return False, building
        return False, not self._is_judged(decided, instance, fact, record)

    def _take(
        self, decided: "_Decided", instance: Instance, fact: XenFacts, record: Record | None
    ) -> None:
        """Take what the toolstack built: as the first record, or as the next revision of one."""
        words: dict[str, object] = {"max_pages": fact.max_pages, "building": not fact.started}
        store = self._asked(instance) or StoreFacts()
        if record is None:
            decided.add(lives.adopted(self.rules, fact, store), EntryKind.ADOPTED, words)
            return
        followed = lives.following_build(self.rules, record, fact, store)
        if followed is not None:
            decided.add(followed, EntryKind.BUILD_FOLLOWED, words)

    def _is_judged(
        self, decided: "_Decided", instance: Instance, fact: XenFacts, record: Record
    ) -> bool:
        """Decide whether an instance that runs goes on with its record; False: nobody can tell."""
        store = self._asked(instance)
        if store is None:
            return False
        owed = self._owed.get(instance.uuid, NO_EFFECTS).then(instance.effects)
        if not lives.continues(record, owed.on(store)):
            words: dict[str, object] = {"max_pages": fact.max_pages, "building": False}
            theirs = _without_ours(instance, fact)
            rebuilt = lives.rebuilt(self.rules, record, theirs, store)
            decided.add(rebuilt, EntryKind.RECORD_REPLACED, words)
        return True

    def _understood(self, instance: Instance, fact: XenFacts, record: Record | None) -> None:
        """Note that what its toolstack wrote while it was built is no drift, but not yet ours."""
        if record is not None and record.max_pages != fact.max_pages:
            instance.state = PushState.PENDING

    def _agree(self, instance: Instance, fact: XenFacts, record: Record | None) -> None:
        """Note that a record which was taken from Xen is in force there."""
        if record is not None and record.max_pages == fact.max_pages:
            instance.wanted_pages = fact.max_pages
            self.enforcer.settle(instance, fact, record.revision)
            self.records.note_instance(instance)


def _birth(instance: Instance, fact: XenFacts, course: tuple[bool, bool]) -> Birth:
    """Return what must be kept of an instance on its course: its `tracking` and `unsure`."""
    tracking, unsure = course
    if fact.started and not unsure:
        return BORN
    return instance.birth._replace(tracking=tracking, unsure=unsure)


def _without_ours(instance: Instance, fact: XenFacts) -> XenFacts:
    """Return a domain as the toolstack built it, where a push of ours took its place."""
    if instance.theirs_pages is None or fact.max_pages != instance.wanted_pages:
        return fact
    return fact._replace(max_pages=instance.theirs_pages)


class _Decided:
    """What one rescan has come to so far, before it is committed."""

    def __init__(self, committed: Records) -> None:
        self._committed = committed
        self.entries: list[Entry] = []
        self.records: dict[str, Record] = {}

    def get(self, uuid: str) -> Record | None:
        return self.records.get(uuid) or self._committed.get(uuid)

    def add(self, record: Record, kind: EntryKind, words: dict[str, object]) -> None:
        self.records[record.uuid] = record
        self.entries.append(entry_of(record, kind, DAEMON, to_json_text(words)))
