"""Which domains came and went: newcomers get a record or go on with theirs, the gone are closed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from maxmemd.arbiter.builds import Builds
from maxmemd.arbiter.endings import EndingTable
from maxmemd.arbiter.entries import own_entry_of
from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.instances import InstanceTable
from maxmemd.arbiter.nodes import NodeReader
from maxmemd.arbiter.records import Records
from maxmemd.arbiter.settings import CurrentSettings
from maxmemd.arbiter.surprises import Surprises
from maxmemd.arbiter.takeover import Takeover
from maxmemd.policy import lives
from maxmemd.policy.codec import ending_to_json
from maxmemd.policy.components import Record
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.kinds import EntryKind
from maxmemd.ports import Clock, Pusher

RESTARTED_WITHIN_S = 600.0
"""How long a toolstack may take to make a domain again: long, for it also dumps a crashed one."""


@dataclass(slots=True)
class Lifecycle:
    """Keeps the instances and the records in step with Xen. Belongs to the arbiter's thread."""

    settings: CurrentSettings
    instances: InstanceTable
    records: Records
    pusher: Pusher
    clock: Clock
    endings: EndingTable
    builds: Builds = field(init=False)
    _gone_since_s: dict[str, float] = field(default_factory=dict)
    surprises: Surprises = field(default_factory=Surprises)
    nodes: NodeReader = field(init=False)
    takeover: Takeover = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = NodeReader(self.records, self.pusher, self.clock, self.surprises)
        self.takeover = Takeover(self.settings, self.instances, self.records, self.nodes_of)
        self.builds = Builds(
            self.settings, self.instances, self.records, self.nodes, self.surprises, self.endings
        )

    def rescan(self, facts: Sequence[XenFacts]) -> None:
        """Bring the instances to what Xen says, and every instance to a record.

        Raises LedgerError; what could not be decided is decided by the next call.
        """
        # Ends that are seen first: how an instance ended is in the history entry of its end.
        # Ends before beginnings are followed: how the one ended is what the other is judged by.
        # Names before builds: the entry of an adoption is found by name from then on.
        by_domid = {fact.domid: fact for fact in facts}
        self.endings.observe(facts)
        self.endings.observe_migrations(by_domid)
        began, ended, trouble = self.instances.compare(facts, self.clock.wall_ns())
        for instance in ended:
            self.close(instance)
        for instance in began:
            self._note_began(instance, by_domid[instance.domid])
        self._read_names([instance for instance in self.instances if instance.name is None])
        self.builds.follow([i for i in self.instances if i.is_unsettled], by_domid)
        self.takeover.decide()
        if trouble is not None:
            raise trouble

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
        ending = self.endings.close(instance)
        if instance.fight is not None:
            told = {"domid": instance.domid, "writes": instance.fight.writes, "why": "gone"}
            self.records.note(instance.uuid, EntryKind.FIGHT_ENDED, told)
        words = {"domid": instance.domid, "incarnation": instance.incarnation}
        words |= ending_to_json(ending, never_ran=instance.never_ran)
        self.records.note(instance.uuid, EntryKind.INSTANCE_ENDED, words)
        self.records.note_instance(instance, ended_ns=self.clock.wall_ns())
        if not self.instances.of_uuid(instance.uuid):
            self.records.forget_name(instance.uuid)

    def forget_old(self) -> None:
        """Drop records whose domain is away: at once where no client decided anything of them.

        Others are kept for as long as is configured, and all of them while the toolstack makes the
        domain again; of too many those go that were away longest. Only time that this process has
        seen pass counts, so that no jump of the host's clock can drop anything. Raises LedgerError.
        """
        now_s, alive = self.clock.monotonic_s(), self.instances.uuids()
        gone = [uuid for uuid in self.records.uuids() if uuid not in alive]
        since_s = {uuid: self._gone_since_s.get(uuid, now_s) for uuid in gone}
        self._gone_since_s = since_s
        kept = [uuid for uuid in gone if now_s - since_s[uuid] <= self._keep_s(uuid)]
        surplus: list[str] = []
        if len(kept) > self.settings.value.gone.most:
            # of those that went together, or before this start, the history tells who went last
            kept = sorted(self.records.by_age(kept), key=since_s.__getitem__)
            surplus = kept[: len(kept) - self.settings.value.gone.most]
        self._forget(set(gone).difference(kept), {})
        self._forget(surplus, {"surplus": True})
        self.endings.forget_others({*alive, *self.records.uuids()})

    def _forget(self, uuids: Collection[str], why: Mapping[str, object]) -> None:
        """Drop records, with an entry of each. Raises LedgerError."""
        if not uuids:
            return
        for uuid in sorted(uuids):
            confirmed = self._is_worth_keeping(uuid)
            self.records.note(uuid, EntryKind.FORGOTTEN, {"confirmed": confirmed, **why})
        modes = dict.fromkeys(uuid for uuid in uuids if uuid in self.records.drift_modes)
        self.records.commit([], {}, forgotten=list(uuids), drift_modes=modes)
        for uuid in uuids:
            self.endings.forget(uuid)

    def _keep_s(self, uuid: str) -> float:
        if self._is_worth_keeping(uuid):
            return self.settings.value.gone.keep_s
        return RESTARTED_WITHIN_S if self.endings.of_uuid(uuid).is_restart else -1.0

    def _is_worth_keeping(self, uuid: str) -> bool:
        """Whether a client decided something: numbers of the record, or the mode of its drift."""
        if uuid in self.records.drift_modes:
            return True
        record = self.records.get(uuid)
        return record is not None and lives.is_worth_keeping(record, self.endings.of_uuid(uuid))

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

    def _note_began(self, instance: Instance, fact: XenFacts) -> None:
        self.takeover.on_began(instance)
        words: dict[str, object] = {
            "domid": instance.domid,
            "incarnation": instance.incarnation,
            "building": instance.building,
            "max_pages": fact.max_pages,
        }
        if instance.unique_id is not None:
            words["unique_id"] = f"{instance.unique_id:016x}"
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
