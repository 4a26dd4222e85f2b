"""The arbiter's way to what xenstore says of its domains; what it finds there is noted once."""

from collections.abc import Iterable
from dataclasses import dataclass

from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.records import Records
from maxmemd.arbiter.surprises import Surprises
from maxmemd.errors import DomainFault, XenstoreError
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.kinds import EntryKind
from maxmemd.policy.reference import lasting_name
from maxmemd.ports import Clock, Pusher

LOOKED_AT_EVERY_S = 10.0
"""Nodes that no client asked for are read this often, so that what is wrong is reported."""
MOST_AT_ONCE = 32
"""So many are looked at in one poll: a host of a thousand domains takes about a minute."""
AFTER_TROUBLE_S = 30.0
"""Where xenstored does not answer, no nodes are read for this long: a poll must not wait for it."""


@dataclass(slots=True)
class NodeReader:
    """Reads domains' nodes. Belongs to the arbiter's thread."""

    records: Records
    pusher: Pusher
    clock: Clock
    surprises: Surprises
    _not_before_s: float = 0.0

    def read(self, instance: Instance) -> StoreFacts:
        """Return what xenstore says of an instance now. Raises XenstoreError."""
        return self.note(instance, self.pusher.facts(instance.domid))

    def read_if_possible(self, instance: Instance) -> StoreFacts | None:
        """Return the same, or None where xenstore cannot be asked."""
        try:
            return self.read(instance)
        except XenstoreError:
            self._not_before_s = self.clock.monotonic_s() + AFTER_TROUBLE_S
            return None

    def look_around(self, instances: Iterable[Instance]) -> None:
        """Read the nodes of those that were not looked at for long, in one message."""
        now_s = self.clock.monotonic_s()
        if now_s < self._not_before_s:
            return
        old = [each for each in instances if now_s - each.known_at_s >= LOOKED_AT_EVERY_S]
        old.sort(key=lambda each: each.known_at_s)
        turn = old[:MOST_AT_ONCE]
        if not turn:
            return
        domids = [each.domid for each in turn]
        looked = self.pusher.look(domids, stores=set(domids))
        for instance, (xen, store) in zip(turn, looked, strict=True):
            instance.on_looked_at(now_s)
            if isinstance(xen, DomainFault):
                self.surprises.note(instance.uuid, xen)
            elif isinstance(store, XenstoreError):
                self._not_before_s = now_s + AFTER_TROUBLE_S
            elif store is not None and isinstance(xen, XenFacts) and instance.is_seen_in(xen):
                self.note(instance, store)

    def note(self, instance: Instance, nodes: StoreFacts) -> StoreFacts:
        """Let an instance know what was read, and note what is there and is no amount."""
        if nodes.name is not None:  # by which it is found once it is gone
            self.records.note_name(instance.uuid, lasting_name(nodes.name))
        before = instance.unreadable
        instance.on_nodes_read(self.clock.monotonic_s(), nodes)
        for each in nodes.unreadable:
            if each not in before:
                words = {"domid": instance.domid, "node": each.node, "value": each.value}
                self.records.note(instance.uuid, EntryKind.NODE_UNREADABLE, words)
        return nodes
