"""Which domains came and went: newcomers get a record or go on with theirs, the gone are closed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from maxmemd.arbiter.entries import own_entry_of
from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.instances import InstanceTable
from maxmemd.arbiter.nodes import NodeReader
from maxmemd.arbiter.records import Records
from maxmemd.arbiter.settings import CurrentSettings
from maxmemd.arbiter.surprises import Surprises
from maxmemd.arbiter.takeover import Takeover
from maxmemd.policy import lives
from maxmemd.policy.components import Record
from maxmemd.policy.entries import Entry
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.kinds import EntryKind
from maxmemd.policy.states import BuildPhase
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from maxmemd.policy.wishes import CREATED, Build
from maxmemd.ports import Clock, Pusher


@dataclass(slots=True)
class Lifecycle:
    """Keeps the instances and the records in step with Xen. Belongs to the arbiter's thread."""

    settings: CurrentSettings
    instances: InstanceTable
    records: Records
    pusher: Pusher
    clock: Clock
    rebooting: set[str]
    """UUIDs whose last instance ended, or is ending, by a reboot."""
    _gone_since_s: dict[str, float] = field(default_factory=dict)
    _owed: dict[str, Effects] = field(default_factory=dict)
    """What was still to be written for a domain's last instance, by UUID: its next one's."""
    surprises: Surprises = field(default_factory=Surprises)
    nodes: NodeReader = field(init=False)
    takeover: Takeover = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = NodeReader(self.records, self.pusher, self.clock, self.surprises)
        self.takeover = Takeover(self.settings, self.instances, self.records, self.nodes_of)

    def rescan(self, facts: Sequence[XenFacts]) -> None:
        """Bring the instances to what Xen says, and every instance to a record.

        Raises LedgerError; what could not be decided is decided by the next call.
        """
        # Reboots first: whether an instance ended by one is in the history entry of its end.
        # Ends before beginnings are followed: what the one was owed is the other's.
        # Names before builds: the entry of an adoption is found by name from then on.
        self._note_reboots(facts)
        began, ended = self.instances.compare(facts, self.clock.wall_ns())
        for instance in ended:
            self.close(instance)
        by_domid = {fact.domid: fact for fact in facts}
        for instance in began:
            self._note_began(instance, by_domid[instance.domid])
        self._read_names([instance for instance in self.instances if instance.name is None])
        self._follow_builds([i for i in self.instances if i.is_unsettled], by_domid)
        self.takeover.decide()

    def on_build_announced(self, instance: Instance, wish: Build) -> None:
        """Guess no more about an instance: its toolstack said what it builds.

        What an earlier instance was still owed is not a created one's.
        """
        instance.on_build_announced()
        self.rebooting.discard(instance.uuid)
        if wish.life == CREATED:
            self._owed.pop(instance.uuid, None)

    def on_decided_ahead(self, uuid: str, effects: Effects) -> None:
        """Owe these to the next instance of a domain that has none here."""
        owed = self._owed.get(uuid, NO_EFFECTS).then(effects)
        if owed is not NO_EFFECTS:
            self._owed[uuid] = owed

    def read_all_names(self) -> None:
        """Read every domain's name again: nothing tells of an xl rename."""
        self._read_names(list(self.instances))

    def read_name(self, instance: Instance) -> None:
        """Read one domain's name again; it keeps the one it had where xenstore cannot be asked."""
        self._read_names([instance])

    def note_all(self) -> None:
        """Note every instance again, so that there is something to find out by writing it."""
        for instance in self.instances:
            self.records.note_instance(instance)

    def close(self, instance: Instance, *, still_listed: bool = False) -> None:
        """Close an instance; its record stays, and what was not yet written is its next life's.

        `still_listed` says that Xen goes on listing it for a while: it is being destroyed.
        """
        self.instances.remove(instance, still_listed=still_listed)
        self.takeover.on_ended(instance)
        others = self.instances.of_uuid(instance.uuid)
        # Another instance that is understood was decided on together with this one, and has its
        # own effects; one that is not may be the next life (the incoming half of a migration).
        if instance.effects is not NO_EFFECTS and not any(other.is_understood for other in others):
            self._owed[instance.uuid] = instance.effects
        if instance.fight is not None:
            told = {"domid": instance.domid, "writes": instance.fight.writes, "why": "gone"}
            self.records.note(instance.uuid, EntryKind.FIGHT_ENDED, told)
        words: dict[str, object] = {"domid": instance.domid, "incarnation": instance.incarnation}
        if instance.uuid in self.rebooting:
            words |= {"reboot": True, "boot": instance.boot}
        self.records.note(instance.uuid, EntryKind.INSTANCE_ENDED, words)
        self.records.note_instance(instance, ended_ns=self.clock.wall_ns())

    def forget_old(self) -> None:
        """Drop records whose domain has been away for longer than they are kept.

        Only time that this process has seen pass counts, so that no jump of the host's clock
        can drop anything. Raises LedgerError.
        """
        now_s = self.clock.monotonic_s()
        away = self.records.uuids() - self.instances.uuids()
        self._gone_since_s = {uuid: self._gone_since_s.get(uuid, now_s) for uuid in away}
        since_s = sorted(self._gone_since_s.items())
        keep_s = self.settings.value.keep_gone_s
        old = [uuid for uuid, since in since_s if now_s - since > keep_s]
        if old:
            for uuid in old:
                self.records.note(uuid, EntryKind.FORGOTTEN, {})
            modes = dict.fromkeys(uuid for uuid in old if uuid in self.records.drift_modes)
            self.records.commit([], {}, forgotten=old, drift_modes=modes)

    def nodes_of(self, instance: Instance) -> StoreFacts:
        """Return what xenstore says of an instance; only its name where it cannot be asked."""
        return self.nodes.read_if_possible(instance) or StoreFacts(name=instance.name)

    def adopt_maximum(self, record: Record, fact: XenFacts, words: Mapping[str, object]) -> Record:
        """Make Xen's maximum the operator's, for it drifted. Raises LedgerError."""
        rules = self.settings.value.rules
        adopted = lives.with_maximum(rules, record, fact.max_pages)
        self.records.commit(
            [own_entry_of(adopted, EntryKind.DRIFT, words)], {adopted.uuid: adopted}
        )
        return adopted

    def _note_reboots(self, facts: Sequence[XenFacts]) -> None:
        """Remember whose shutdown was a reboot, until the next instance runs or is announced."""
        for fact in facts:
            if fact.shutdown and fact.shutdown_reason == lives.REBOOT:
                self.rebooting.add(fact.uuid)
            elif fact.shutdown or fact.started:
                self.rebooting.discard(fact.uuid)

    def _note_began(self, instance: Instance, fact: XenFacts) -> None:
        self.takeover.on_began(instance)
        words = {
            "domid": instance.domid,
            "incarnation": instance.incarnation,
            "building": instance.building,
            "max_pages": fact.max_pages,
        }
        self.records.note(instance.uuid, EntryKind.INSTANCE_BEGAN, words)
        self.records.note_instance(instance)

    def _read_names(self, instances: Sequence[Instance]) -> None:
        """Ask xenstore for names; a domain whose name cannot be had is asked again later."""
        for instance in instances:
            try:
                if self.nodes.read_if_possible(instance) is None:
                    return
            except Exception as surprise:  # noqa: BLE001 - of one domain, and noted
                self.surprises.note(instance.uuid, surprise)

    def _follow_builds(self, unsettled: Sequence[Instance], facts: Mapping[int, XenFacts]) -> None:
        """Decide what the unsettled have to do with their records, in one transaction.

        Raises LedgerError, and nothing counts.
        """
        # First decide for all, then commit, and only then let the instances know. Were one
        # settled before the commit, a commit that fails would leave it settled with no record:
        # the next poll would not look at it again. Their rows go with the same commit, so that
        # after a crash a build is as far as its record is.
        decided = _Decisions(self.records)
        phases = {}
        for each in unsettled:
            try:
                phases[each] = self._decide_phase(decided, each, facts[each.domid])
            except Exception as surprise:  # noqa: BLE001 - of one domain, and noted
                self.surprises.note(each.uuid, surprise)
        builds = {i: i.build_in(phase) for i, phase in phases.items()}
        moved = [i.to_row(build=build) for i, build in builds.items() if build != i.build]
        if decided.entries:
            self.records.commit(decided.entries, decided.records, instances=moved)
        else:
            self.records.note_rows(moved)
        for instance, phase in phases.items():
            try:
                self._on_phase_decided(instance, phase, facts[instance.domid], decided)
            except Exception as surprise:  # noqa: BLE001 - of one domain, and noted
                self.surprises.note(instance.uuid, surprise)

    def _on_phase_decided(
        self, instance: Instance, phase: BuildPhase, fact: XenFacts, decided: "_Decisions"
    ) -> None:
        """Let an instance know what was decided of it, now that it is committed."""
        was_understood = instance.is_understood
        record, owed = decided.get(instance.uuid), NO_EFFECTS
        instance.on_build_observed(phase, building=not fact.started)
        if phase is BuildPhase.SETTLED:
            owed = self._owed.pop(instance.uuid, NO_EFFECTS)
        if phase is BuildPhase.FOLLOWING or instance.uuid in decided.records:
            self._note_adopted(instance, fact, record)  # nothing is owed to a new record
        elif owed is not NO_EFFECTS:
            instance.on_effects_inherited(owed)
        elif phase is BuildPhase.SETTLED and not was_understood and _differs(record, fact):
            # what its toolstack wrote while it was built is no drift, but not yet ours
            instance.on_put_off()

    def _decide_phase(
        self, decided: "_Decisions", instance: Instance, fact: XenFacts
    ) -> BuildPhase:
        """Decide what an instance has to do with its record, and return its phase from now on.

        A record follows the build of a domain that was never decided on before, until it runs.
        Whether another one goes on with its record is asked of xenstore once it runs. Where
        nothing depends on xenstore it is not asked: it may hang.
        """
        building = not fact.started
        if instance.build_phase is BuildPhase.ANNOUNCED:
            return BuildPhase.ANNOUNCED if building else BuildPhase.SETTLED
        record = decided.get(instance.uuid)
        if record is None and building and fact.max_pages == 0:
            return BuildPhase.FOLLOWING  # a maximum of 0 was set by nothing yet (A4)
        if record is None or instance.build_phase is BuildPhase.FOLLOWING:
            self._take_build(decided, instance, fact, record)
            return BuildPhase.FOLLOWING if building else BuildPhase.SETTLED
        if building or not self._judge(decided, instance, fact, record):
            return BuildPhase.UNDECIDED
        return BuildPhase.SETTLED

    def _take_build(
        self, decided: "_Decisions", instance: Instance, fact: XenFacts, record: Record | None
    ) -> None:
        """Take what the toolstack built: as the first record, or as the next revision of one."""
        rules = self.settings.value.rules
        words: dict[str, object] = {"max_pages": fact.max_pages, "building": not fact.started}
        nodes = self.nodes.read_if_possible(instance) or StoreFacts()
        if record is None:
            decided.add(lives.adopted(rules, fact, nodes), EntryKind.ADOPTED, words)
            return
        followed = lives.following_build(rules, record, fact, nodes)
        if followed is not None:
            decided.add(followed, EntryKind.BUILD_FOLLOWED, words)

    def _judge(
        self, decided: "_Decisions", instance: Instance, fact: XenFacts, record: Record
    ) -> bool:
        """Decide whether an instance that runs goes on with its record; False: not known yet."""
        nodes = self.nodes.read_if_possible(instance)
        if nodes is None:
            return False
        # What is still owed to it would be in xenstore had it been written: it is no contradiction.
        owed = self._owed.get(instance.uuid, NO_EFFECTS).then(instance.effects)
        if not lives.continues(record, owed.on(nodes)):
            words: dict[str, object] = {"max_pages": fact.max_pages, "building": False}
            rules, built = self.settings.value.rules, instance.as_built(fact)
            decided.add(
                lives.rebuilt(rules, record, built, nodes), EntryKind.RECORD_REPLACED, words
            )
        return True

    def _note_adopted(self, instance: Instance, fact: XenFacts, record: Record | None) -> None:
        """Note that a record which was taken from Xen is in force there."""
        if record is not None and record.max_pages == fact.max_pages:
            instance.on_adopted(fact, record.revision)
            self.records.note_instance(instance)


def _differs(record: Record | None, fact: XenFacts) -> bool:
    return record is not None and record.max_pages != fact.max_pages


class _Decisions:
    """What one rescan has come to so far, before it is committed."""

    def __init__(self, committed: Records) -> None:
        self._committed = committed
        self.entries: list[Entry] = []
        self.records: dict[str, Record] = {}

    def get(self, uuid: str) -> Record | None:
        return self.records.get(uuid) or self._committed.get(uuid)

    def add(self, record: Record, kind: EntryKind, facts: Mapping[str, object]) -> None:
        self.records[record.uuid] = record
        self.entries.append(own_entry_of(record, kind, facts))
