"""Answers to questions about the present: asked of Xen now, nothing is changed.

Xen tells of all domains in one call, xenstore of each domain's nodes in some. So the nodes of all
domains are asked for once a second at most, however many look; what we write is seen at once.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from maxmemd.arbiter.drift_modes import DriftModes
from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.lifecycle import Lifecycle
from maxmemd.arbiter.messages import (
    Answer,
    DomainView,
    DomainViews,
    HostView,
    LookAtDomains,
    LookAtHost,
    LookAtMore,
    PushStatus,
    Query,
)
from maxmemd.arbiter.observation import Halted, Observation, Observer
from maxmemd.arbiter.records import Records
from maxmemd.errors import LedgerError
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.outlook import outlook_of, target_above_limit
from maxmemd.ports import Clock, Pusher

MOST_VIEWS = 256
"""Domains that are looked at in one turn."""
LATELY_S = 1.0
"""How old xenstore's part of a view of all domains may be. One domain is always asked about."""


@dataclass(frozen=True, slots=True)
class Queries:
    """Looks at the host for clients. Belongs to the arbiter's thread."""

    records: Records
    lifecycle: Lifecycle
    drift: DriftModes
    pusher: Pusher
    clock: Clock

    def answer(self, query: Query) -> Answer:
        """Answer one question. Raises HypervisorError, or LedgerError where a newcomer is meant."""
        if isinstance(query, LookAtHost):
            return HostView(self.pusher.host(), len(self.pusher.domains()))
        if isinstance(query, LookAtDomains):
            return self._domains()
        if isinstance(query, LookAtMore):
            return self._some(query.facts, query.away)
        return self._domain(query.ref)

    def _domains(self) -> DomainViews:
        """Return the domains that Xen knows, and then the records without one of those."""
        facts = self.pusher.domains()
        with suppress(LedgerError):  # a newcomer without a record yet is shown as it is
            self.lifecycle.rescan(facts)
        here = {fact.uuid for fact in facts}
        return self._some(facts, [uuid for uuid in self.records.uuids() if uuid not in here])

    def _some(self, facts: Sequence[XenFacts], away: Sequence[str]) -> DomainViews:
        """Return the first of them: who asks for thousands must not hold up other clients."""
        lives = self.lifecycle.instances
        some = facts[:MOST_VIEWS]
        found = [self._view_of(fact, lives.known(fact)) for fact in some]
        gone = away[: MOST_VIEWS - len(some)]
        found += [self._halted(uuid, None) for uuid in gone]
        views = DomainViews(found)
        if len(some) < len(facts) or len(gone) < len(away):
            views.more = LookAtMore(facts[len(some) :], away[len(gone) :])
        return views

    def _domain(self, ref: str) -> Answer:
        observer = Observer(self.lifecycle, self.pusher)
        seen = observer.observe(ref)
        if isinstance(seen, Observation):
            nodes = self.lifecycle.nodes_of(seen.instance)
            return self._view(seen.xen, seen.instance, nodes)
        if isinstance(seen, Halted):
            return self._halted(seen.uuid, seen.dying)
        fact = observer.unmanaged(ref)
        return seen if fact is None else DomainView(fact.uuid, None, fact.domid, xen=fact)

    def _view_of(self, fact: XenFacts, instance: Instance | None) -> DomainView:
        """Return a view of one of all domains."""
        if instance is not None:
            return self._view(fact, instance, self._recent_nodes(instance))
        if fact.managed and fact.uuid not in self.lifecycle.instances.uuids():
            return self._halted(fact.uuid, fact)
        return DomainView(fact.uuid, None, fact.domid, xen=fact)

    def _halted(self, uuid: str, dying: XenFacts | None) -> DomainView:
        """Return what is left of a domain that has no instance here, or one that is dying."""
        record, name = self.records.get(uuid), self.records.name_of(uuid)
        domid = None if dying is None else dying.domid
        known = None if record is None else name
        drift = None if record is None else self.drift.view(uuid, known)
        return DomainView(uuid, record, domid, known, xen=dying, drift=drift)

    def _recent_nodes(self, instance: Instance) -> StoreFacts:
        """Return what xenstore said of an instance a moment ago, or says now."""
        now_s = self.clock.monotonic_s()
        if instance.nodes is not None and now_s - instance.nodes[0] < LATELY_S:
            return instance.nodes[1]
        try:
            nodes = self.lifecycle.nodes_of(instance)
        except Exception as surprise:  # noqa: BLE001 - of one domain, and noted
            self.lifecycle.surprises.note(instance.uuid, surprise)
            nodes = StoreFacts(name=instance.name)
        instance.on_nodes_shown(now_s, nodes)
        return nodes

    def _view(self, fact: XenFacts, instance: Instance, nodes: StoreFacts) -> DomainView:
        record = self.records.get(fact.uuid)
        above = outlook = None
        if record is not None and not instance.is_unsettled:
            above = target_above_limit(record, nodes)
        if record is not None and fact.tot_pages > record.max_pages:
            outlook = outlook_of(record, fact, nodes, instance.still_polls)
        return DomainView(
            fact.uuid,
            record,
            fact.domid,
            nodes.name,
            instance.building,
            push_status(instance),
            fact,
            nodes,
            target_above=above,
            outlook=outlook,
            drift=self.drift.view(fact.uuid, nodes.name),
            fight=instance.fight,
        )


def push_status(instance: Instance) -> PushStatus:
    """Return how far an instance's limit is in force."""
    return PushStatus(
        instance.push_state,
        instance.wanted_pages,
        instance.seen_pages,
        instance.errno,
        instance.error,
        instance.effect_states,
    )
