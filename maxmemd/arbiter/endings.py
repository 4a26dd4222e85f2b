"""How the last instances of domains ended: what the next one of each is judged by."""

from collections.abc import Container, Iterable, Mapping

from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.instances import InstanceTable
from maxmemd.policy.components import ZERO
from maxmemd.policy.endings import SUSPEND, UNSEEN, Ending
from maxmemd.policy.facts import XenFacts
from maxmemd.policy.verdicts import NO_EFFECTS
from maxmemd.units import Memory


class EndingTable:
    """The ends that were seen and that no later instance has taken up yet, by UUID."""

    def __init__(self, instances: InstanceTable, boot: str, kept: Mapping[str, Ending]) -> None:
        self._instances = instances
        self._boot = boot
        self._by_uuid = {uuid: ending for uuid, ending in kept.items() if ending.still_counts(boot)}

    def __len__(self) -> int:
        return len(self._by_uuid)

    def of_uuid(self, uuid: str) -> Ending:
        """Return how a domain's last instance ended, or is about to end."""
        return self._by_uuid.get(uuid, UNSEEN)

    def observe(self, facts: Iterable[XenFacts]) -> None:
        """Note which domains have shut down, and forget it once one runs that is understood."""
        for fact in facts:
            if fact.shutdown:
                self._note(fact, fact.shutdown_reason)
            elif fact.uuid in self._by_uuid and fact.started and self._is_settled(fact):
                del self._by_uuid[fact.uuid]

    def observe_migrations(self, by_domid: Mapping[int, XenFacts]) -> None:
        """Note of whose instances one is built beside another that has run: by a stream."""
        for instance in self._instances.beside_others():
            fact = by_domid.get(instance.domid)
            if fact is None or not instance.is_seen_in(fact) or instance.building:
                continue
            younger = self._instances.of_uuid(instance.uuid)[-1]
            if younger is not instance and younger.is_unsettled:
                self._note(fact, SUSPEND)

    def close(self, instance: Instance) -> Ending:
        """Return how this instance ended, and keep what it was still owed.

        Of one that never ran that is how the one before it ended, as far as it still counts: a
        restore that fails leaves its stream, but a toolstack does not try twice to restart.
        """
        ending = self.of_uuid(instance.uuid)
        if instance.never_ran and ending.is_restart:
            ending = ending._replace(reason=None, held=ZERO)
            self._by_uuid[instance.uuid] = ending
        others = self._instances.of_uuid(instance.uuid)
        # Another instance that is understood was decided on together with this one, and has its
        # own effects; one that is not may be the next life (the incoming half of a migration).
        if instance.effects is not NO_EFFECTS and not any(other.is_understood for other in others):
            known = Ending(None, self._boot) if ending is UNSEEN else ending
            self._by_uuid[instance.uuid] = known._replace(unwritten=instance.effects)
        return ending

    def on_decided_ahead(self, uuid: str) -> None:
        """Note that a client decided on a domain that has no instance here, for its next start."""
        self._by_uuid[uuid] = self.of_uuid(uuid)._replace(decided_ahead=True)

    def forget(self, uuid: str) -> None:
        """Forget how the last instance ended: the next one is understood, or there is no record."""
        self._by_uuid.pop(uuid, None)

    def forget_others(self, known: Container[str]) -> None:
        """Forget the ends of domains that neither live nor have a record."""
        self._by_uuid = {uuid: end for uuid, end in self._by_uuid.items() if uuid in known}

    def _note(self, fact: XenFacts, reason: int) -> None:
        """Keep what it held when its end was seen first: a zombie holds nothing."""
        known = self._by_uuid.get(fact.uuid, UNSEEN)
        held = Memory.of_pages(fact.tot_pages)
        if known.reason == reason:
            held = max(held, known.held)
        self._by_uuid[fact.uuid] = Ending(reason, self._boot, held, known.unwritten)

    def _is_settled(self, fact: XenFacts) -> bool:
        return any(
            life.domid == fact.domid and life.is_seen_in(fact) and not life.is_unsettled
            for life in self._instances.of_uuid(fact.uuid)
        )
