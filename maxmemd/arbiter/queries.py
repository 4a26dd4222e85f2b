"""Answers to questions about the present: asked of Xen now, nothing is changed.

Xen tells of all domains in one call, xenstore of each domain's nodes in some. So the nodes of all
domains are asked for once a second at most, however many look; what we write is seen at once.
"""

from contextlib import suppress
from dataclasses import dataclass

from maxmemd.arbiter.instances import Instance, is_uuid
from maxmemd.arbiter.lifecycle import Lifecycle
from maxmemd.arbiter.messages import (
    Answer,
    DomainView,
    HostView,
    LookAtDomains,
    LookAtHost,
    PushStatus,
    Query,
    Refused,
)
from maxmemd.arbiter.observation import Observer
from maxmemd.arbiter.records import Records
from maxmemd.errors import LedgerError
from maxmemd.policy.facts import StoreFacts, XenFacts

LATELY_S = 1.0
"""So old xenstore's part of a look at all domains may be. One domain is always asked about anew."""


@dataclass(frozen=True, slots=True)
class Queries:
    """Looks at the host for clients. Belongs to the arbiter's thread."""

    records: Records
    lifecycle: Lifecycle

    def look(self, look: Query) -> Answer:
        """Answer one question. Raises HypervisorError, or LedgerError where a newcomer is meant."""
        if isinstance(look, LookAtHost):
            pusher = self.lifecycle.enforcer.pusher
            return HostView(pusher.host(), len(pusher.domains()))
        if isinstance(look, LookAtDomains):
            return self._domains()
        return self._domain(look.ref)

    def _domains(self) -> tuple[DomainView, ...]:
        facts = self.lifecycle.enforcer.pusher.domains()
        with suppress(LedgerError):  # a newcomer without a record yet is told as it is
            self.lifecycle.rescan(facts)
        lives = {instance.domid: instance for instance in self.lifecycle.instances}
        present = []
        for fact in facts:
            instance = lives.get(fact.domid)
            store = None if instance is None else self._lately(instance)
            present.append(_view(self.records, fact, instance, store))
        here = {view.uuid for view in present}
        away = [uuid for uuid in self.records.uuids() if uuid not in here]
        return (*present, *(DomainView(uuid, self.records.get(uuid)) for uuid in away))

    def _domain(self, ref: str) -> Answer:
        seen = Observer(self.lifecycle).of(ref, with_store=False)
        if not isinstance(seen, Refused):
            store = self.lifecycle.store(seen.instance)
            return _view(self.records, seen.xen, seen.instance, store)
        for fact in self.lifecycle.enforcer.pusher.domains():
            if str(fact.domid) == ref and not fact.managed:
                return _view(self.records, fact, None, None)
        uuid = ref.lower()
        if is_uuid(uuid) and self.records.get(uuid) is not None:
            return DomainView(uuid, self.records.get(uuid))
        return seen

    def _lately(self, instance: Instance) -> StoreFacts:
        """Return what xenstore said of an instance a moment ago, or says now."""
        now_s = self.lifecycle.enforcer.clock.monotonic_s()
        if instance.shown is None or now_s - instance.shown[0] >= LATELY_S:
            instance.shown = (now_s, self.lifecycle.store(instance))
        return instance.shown[1]


def _view(
    records: Records, fact: XenFacts, instance: Instance | None, store: StoreFacts | None
) -> DomainView:
    if instance is None or store is None:
        return DomainView(fact.uuid, None, fact.domid, xen=fact)
    return DomainView(
        fact.uuid,
        records.get(fact.uuid),
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
