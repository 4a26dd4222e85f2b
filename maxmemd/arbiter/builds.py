"""What an instance that is built has to do with its record: decided, committed, then made known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maxmemd.arbiter.endings import EndingTable
from maxmemd.arbiter.entries import note_of, own_entry_of
from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.instance_rows import row_of
from maxmemd.arbiter.instances import InstanceTable
from maxmemd.arbiter.nodes import NodeReader
from maxmemd.arbiter.records import Records
from maxmemd.arbiter.settings import CurrentSettings
from maxmemd.arbiter.surprises import Surprises
from maxmemd.policy import lives
from maxmemd.policy.components import MAX_MEM, Record
from maxmemd.policy.endings import UNSEEN
from maxmemd.policy.entries import Entry
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.kinds import EntryKind
from maxmemd.policy.states import BuildPhase
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from maxmemd.units import kib_or_none


@dataclass(slots=True)
class Builds:
    """Decides what newcomers have to do with their records. Belongs to the arbiter's thread."""

    settings: CurrentSettings
    instances: InstanceTable
    records: Records
    nodes: NodeReader
    surprises: Surprises
    endings: EndingTable

    def is_build_newer(self, instance: Instance, record: Record | None) -> bool:
        """Whether Xen's maximum is newer than the record: it is not of this instance yet."""
        if instance.build_phase is BuildPhase.FOLLOWING:
            return True
        if record is None or instance.build_phase is not BuildPhase.UNDECIDED:
            return False
        return not (record.is_decided(MAX_MEM) or self.instances.has_run_beside(instance))

    def pages_in_build(self, instance: Instance, seen_pages: int, record: Record) -> int:
        """Return what an instance is to be allowed while it is built, or not understood yet."""
        wanted = record.max_pages
        if instance.build_phase is BuildPhase.UNDECIDED and self.is_build_newer(instance, record):
            wanted = lives.pages_in_build(record, instance.built_pages(seen_pages))
        return max(wanted, instance.build_pages or 0)

    def follow(self, unsettled: Sequence[Instance], facts: Mapping[int, XenFacts]) -> None:
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
        rows = [
            row_of(i, effects=decided.effects_of(i), build=i.build_in(phase))
            for i, phase in phases.items()
            if i.build_in(phase) != i.build or i in decided.confirmed
        ]
        if decided.entries:
            self.records.commit(decided.entries, decided.records, instances=rows)
        else:
            self.records.notes.add_rows(rows)
        for instance, phase in phases.items():
            try:
                self._enter(decided, instance, phase, facts[instance.domid])
            except Exception as surprise:  # noqa: BLE001 - of one domain, and noted
                self.surprises.note(instance.uuid, surprise)

    def _enter(
        self, decided: "_Decisions", instance: Instance, phase: BuildPhase, fact: XenFacts
    ) -> None:
        """Let an instance know what was decided of it, once that is committed."""
        was_understood, build_pages = instance.is_understood, instance.build_pages
        record = decided.get(instance.uuid)
        instance.on_build_observed(phase, building=not fact.started)
        if phase is BuildPhase.FOLLOWING or instance.uuid in decided.records:
            self._note_adopted(instance, fact, record)
        if phase is not BuildPhase.SETTLED:
            return
        self.endings.forget(instance.uuid)
        if instance in decided.confirmed:
            instance.on_effects_inherited(decided.confirmed[instance])
        elif _differs(record, fact) and (not was_understood or build_pages == fact.max_pages):
            # what its toolstack wrote, or its stream needed, while it was built is no drift
            instance.on_put_off()

    def _decide_phase(
        self, decided: "_Decisions", instance: Instance, fact: XenFacts
    ) -> BuildPhase:
        """Decide what an instance has to do with its record, and return its phase from now on.

        A record follows the build of a domain that was never decided on before, until it runs.
        Whether another one goes on with its record is asked of xenstore once it runs. Where
        nothing depends on xenstore it is not asked: it may hang.
        """
        building, phase = not fact.started, instance.build_phase
        record = decided.get(instance.uuid)
        if phase is BuildPhase.FOLLOWING and self._is_followed_no_more(instance, record):
            phase = BuildPhase.ANNOUNCED
        if phase is BuildPhase.ANNOUNCED:
            if building:
                return phase
            self._confirm(decided, instance, fact, record)
            return BuildPhase.SETTLED
        if record is None and building and fact.max_pages == 0:
            return BuildPhase.FOLLOWING  # a maximum of 0 was set by nothing yet (A4)
        if record is None or phase is BuildPhase.FOLLOWING:
            self._take_build(decided, instance, fact, record)
            return BuildPhase.FOLLOWING if building else BuildPhase.SETTLED
        if building or not self._judge(decided, instance, fact, record):
            return BuildPhase.UNDECIDED
        return BuildPhase.SETTLED

    def _is_followed_no_more(self, instance: Instance, record: Record | None) -> bool:
        """Whether its record is more than what was seen of its build.

        A client decided its max-mem, by whatever reference, or another instance of the UUID is
        understood.
        """
        others = self.instances.of_uuid(instance.uuid)
        return (record is not None and record.is_decided(MAX_MEM)) or any(
            other.is_understood for other in others if other is not instance
        )

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
        if nodes is None and instance.domid != 0:
            return False
        nodes = nodes or StoreFacts()
        rules, built = self.settings.value.rules, instance.as_built(fact)
        ending = self.endings.of_uuid(instance.uuid)
        # What is still owed to it would be in xenstore had it been written: it is no contradiction.
        seen = ending.unwritten.then(instance.effects).on(nodes)
        why = lives.contradiction(rules, record, built, seen, ending)
        words: dict[str, object] = {"max_pages": fact.max_pages, "building": False}
        if why is not None:
            replaced = lives.rebuilt(rules, record, built, nodes)
            decided.add(replaced, EntryKind.RECORD_REPLACED, {**words, "why": why})
            return True
        after = lives.observed_again(rules, record, built, nodes)
        if after is not record:
            decided.add(after, EntryKind.BUILD_FOLLOWED, words)
        self._confirm(decided, instance, fact, after, nodes)
        return True

    def _confirm(
        self,
        decided: "_Decisions",
        instance: Instance,
        fact: XenFacts,
        record: Record | None,
        nodes: StoreFacts | None = None,
    ) -> None:
        """Bring back what was last confirmed, where what it was built with differs from that."""
        if record is None or not lives.is_worth_keeping(record, UNSEEN):
            return
        nodes = nodes or self.nodes.read_if_possible(instance) or StoreFacts()
        effects = lives.confirmed_again(self.settings.value.rules, record, fact, nodes)
        built = instance.build_pages or instance.built_pages(fact.max_pages)
        if effects is NO_EFFECTS and built == record.max_pages:
            return
        if effects is not NO_EFFECTS:
            decided.confirmed[instance] = effects
        decided.note(record, EntryKind.CONFIRMED_AGAIN, {
            "domid": instance.domid, "max_pages": record.max_pages, "built_pages": built,
            **_nodes_in_words(effects, nodes),
        })  # fmt: skip

    def _note_adopted(self, instance: Instance, fact: XenFacts, record: Record | None) -> None:
        """Note that a record which was taken from Xen is in force there."""
        if record is not None and record.max_pages == fact.max_pages:
            instance.on_adopted(fact, record.revision)
            self.records.note_instance(instance)


def _nodes_in_words(effects: Effects, nodes: StoreFacts) -> dict[str, object]:
    """Return which nodes are written again, and what is there."""
    words: dict[str, object] = {}
    if effects.static_max is not None:
        words |= {
            "static_max_kib": effects.static_max.kib,
            "built_static_max_kib": kib_or_none(nodes.static_max),
        }
    if effects.target is not None:
        words |= {"target_kib": effects.target.kib, "built_target_kib": kib_or_none(nodes.target)}
    return words


def _differs(record: Record | None, fact: XenFacts) -> bool:
    return record is not None and record.max_pages != fact.max_pages


class _Decisions:
    """What one rescan has come to so far, before it is committed."""

    def __init__(self, committed: Records) -> None:
        self._committed = committed
        self.entries: list[Entry] = []
        self.records: dict[str, Record] = {}
        self.confirmed: dict[Instance, Effects] = {}
        """What is to be written for instances so that they have what was last confirmed."""

    def get(self, uuid: str) -> Record | None:
        return self.records.get(uuid) or self._committed.get(uuid)

    def add(self, record: Record, kind: EntryKind, facts: Mapping[str, object]) -> None:
        self.records[record.uuid] = record
        self.entries.append(own_entry_of(record, kind, facts))

    def note(self, record: Record, kind: EntryKind, words: Mapping[str, object]) -> None:
        self.entries.append(note_of(record, kind, words))

    def effects_of(self, instance: Instance) -> Effects:
        return self.confirmed.get(instance, NO_EFFECTS).then(instance.effects)
