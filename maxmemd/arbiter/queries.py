"""Answers to questions about the present: asked of Xen now, nothing is changed.

Xen tells of all domains in one call, xenstore of each domain's nodes in some. So the nodes of all
domains are asked for once a second at most, however many look; what we write is seen at once.
"""

from contextlib import suppress
from dataclasses import dataclass

from maxmemd.arbiter.drift_modes import DriftModes
from maxmemd.arbiter.instance import Instance
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
from maxmemd.policy.outlook import outlook_of, target_above_limit
from maxmemd.policy.reference import Domid, Uuid, parse_reference
from maxmemd.ports import Clock, Pusher

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
        return self._domain(query.ref)

    def _domains(self) -> tuple[DomainView, ...]:
        facts = self.pusher.domains()
        with suppress(LedgerError):  # a newcomer without a record yet is shown as it is
            self.lifecycle.rescan(facts)
        lives = {instance.domid: instance for instance in self.lifecycle.instances}
        present = []
        for fact in facts:
            instance = lives.get(fact.domid)
            nodes = None if instance is None else self._recent_nodes(instance)
            present.append(self._view(fact, instance, nodes))
        here = {view.uuid for view in present}
        away = [uuid for uuid in self.records.uuids() if uuid not in here]
        return (*present, *(self._away(uuid) for uuid in away))

    def _domain(self, ref: str) -> Answer:
        seen = Observer(self.lifecycle, self.pusher).observe(ref)
        if not isinstance(seen, Refused):
            nodes = self.lifecycle.nodes_of(seen.instance)
            return self._view(seen.xen, seen.instance, nodes)
        meant = parse_reference(ref)
        for fact in self.pusher.domains():
            if meant == Domid(fact.domid) and not fact.managed:
                return self._view(fact, None, None)
        record = self.records.get(meant.text) if isinstance(meant, Uuid) else None
        return seen if record is None else self._away(record.uuid)

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

    def _view(
        self, fact: XenFacts, instance: Instance | None, nodes: StoreFacts | None
    ) -> DomainView:
        if instance is None or nodes is None:
            return DomainView(fact.uuid, None, fact.domid, xen=fact)
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

    def _away(self, uuid: str) -> DomainView:
        return DomainView(uuid, self.records.get(uuid), drift=self.drift.view(uuid, None))


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
