"""Limits by name: a new domain takes over what was decided of the halted one of its name.

Once the new domain runs and has a name. Its record was taken from its build until then, as that of
every domain; the takeover is a decision of its own, with an entry in the history of both.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from maxmemd.arbiter.entries import note_of, own_entry_of
from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.instance_rows import row_of
from maxmemd.arbiter.instances import InstanceTable
from maxmemd.arbiter.records import Records
from maxmemd.arbiter.settings import CurrentSettings
from maxmemd.policy import by_name
from maxmemd.policy.components import Record
from maxmemd.policy.facts import StoreFacts
from maxmemd.policy.kinds import EntryKind
from maxmemd.policy.verdicts import Effects


@dataclass(slots=True)
class Takeover:
    """The domains whose first instance began lately. Belongs to the arbiter's thread."""

    settings: CurrentSettings
    instances: InstanceTable
    records: Records
    nodes_of: Callable[[Instance], StoreFacts]
    _new: dict[str, Instance] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A daemon that died before it could decide left them open, perhaps after their first run.
        self._new = {each.uuid: each for each in self.instances if each.is_newcomer}

    def on_began(self, instance: Instance) -> None:
        """Remember a domain that has no record yet."""
        if instance.incarnation == 1 and self.records.get(instance.uuid) is None:
            instance.on_newcomer_seen()
            self._new[instance.uuid] = instance

    def on_ended(self, instance: Instance) -> None:
        """Forget a domain that ended before it could take anything over."""
        self._new.pop(instance.uuid, None)

    def decide(self) -> None:
        """Let each new domain that runs by now take over, or say what it leaves.

        Raises LedgerError, and the next call goes on.
        """
        for uuid, instance in list(self._new.items()):
            record, name = self.records.get(uuid), self.records.name_of(uuid)
            if record is None or not name or instance.is_unsettled or instance.building:
                continue
            halted = self._halted_of(name)
            if halted is not None:
                self._take(instance, record, halted, name)
            instance.on_takeover_decided()
            self.records.note_instance(instance)
            del self._new[uuid]

    def _halted_of(self, name: str) -> Record | None:
        """Return the newest record of a halted domain of this name that a client decided on."""
        alive = self.instances.uuids()
        named = [self.records.get(uuid) for uuid in self.records.named(name) if uuid not in alive]
        decided = {it.uuid: it for it in named if it is not None and by_name.decided_amounts(it)}
        return decided[self.records.by_age(list(decided))[-1]] if decided else None

    def _take(self, instance: Instance, record: Record, halted: Record, name: str) -> None:
        if not by_name.is_opted_in(name, self.settings.value.by_name):
            words = {"name": name, "from": halted.uuid, "advice": _advice(name)}
            self.records.note(record.uuid, EntryKind.NAMESAKE_FOUND, words)
            return
        taken = by_name.taken_over(record, halted, self.nodes_of(instance))
        if taken is None:
            return
        effects = instance.effects
        if taken.static_max is not None and taken.static_max != record.static_max:
            effects = effects.then(Effects(static_max=taken.static_max))
        given = {"name": name, "to": record.uuid}
        decided = instance.build._replace(is_newcomer=False)
        self.records.commit(
            [
                note_of(halted, EntryKind.LIMITS_GIVEN, given),
                own_entry_of(taken, EntryKind.LIMITS_TAKEN, {"name": name, "from": halted.uuid}),
            ],
            {taken.uuid: taken},
            instances=[row_of(instance, effects=effects, build=decided)],
            # The name goes over too: it means the new domain from now on, and nothing is taken
            # from the halted one twice.
            names={halted.uuid: ""},
        )
        instance.on_effects_decided(effects)


def _advice(name: str) -> str:
    return f"write uuid= in its configuration for xl, or by_name = [{name!r}] in maxmemd's"
