"""Answers to questions about the present: asked of Xen now, nothing is changed."""

from contextlib import suppress
from dataclasses import dataclass

from maxmemd.asks import Answer, DomainView, HostView, Look, PushStatus, Refused, Subject
from maxmemd.census import Instance, is_uuid
from maxmemd.errors import LedgerError
from maxmemd.policy.facts import XenFacts
from maxmemd.records import Records
from maxmemd.registrar import Registrar
from maxmemd.sight import Sight


@dataclass(frozen=True, slots=True)
class Viewer:
    """Looks at the host for clients. Belongs to the arbiter's thread."""

    records: Records
    registrar: Registrar

    def look(self, look: Look) -> Answer:
        """Answer one question. Raises HypervisorError, or LedgerError where a newcomer is meant."""
        if look.subject is Subject.HOST:
            pusher = self.registrar.enforcer.pusher
            return HostView(pusher.host(), len(pusher.domains()))
        if look.subject is Subject.DOMAINS:
            return self._domains()
        return self._domain(look.ref)

    def _domains(self) -> tuple[DomainView, ...]:
        facts = self.registrar.enforcer.pusher.domains()
        with suppress(LedgerError):  # a newcomer without a record yet is told as it is
            self.registrar.rescan(facts)
        lives = {instance.domid: instance for instance in self.registrar.census}
        present = [self._view(fact, lives.get(fact.domid)) for fact in facts]
        here = {view.uuid for view in present}
        away = [uuid for uuid in self.records.uuids() if uuid not in here]
        return (*present, *(DomainView(uuid, self.records.get(uuid)) for uuid in away))

    def _domain(self, ref: str) -> Answer:
        seen = Sight(self.registrar).of(ref, with_store=False)
        if not isinstance(seen, Refused):
            return self._view(seen.xen, seen.instance)
        for fact in self.registrar.enforcer.pusher.domains():
            if str(fact.domid) == ref and not fact.managed:
                return self._view(fact, None)
        uuid = ref.lower()
        if is_uuid(uuid) and self.records.get(uuid) is not None:
            return DomainView(uuid, self.records.get(uuid))
        return seen

    def _view(self, fact: XenFacts, instance: Instance | None) -> DomainView:
        if instance is None:
            return DomainView(fact.uuid, None, fact.domid, xen=fact)
        store = self.registrar.store(instance)
        return DomainView(
            fact.uuid,
            self.records.get(fact.uuid),
            fact.domid,
            store.name or instance.name,
            instance.building,
            push_status(instance),
            fact,
            store,
        )


def push_status(instance: Instance) -> PushStatus:
    """Return how far an instance's limit is in force."""
    return PushStatus(
        instance.state,
        instance.wanted_pages,
        instance.seen_pages,
        instance.errno,
        instance.error,
    )
