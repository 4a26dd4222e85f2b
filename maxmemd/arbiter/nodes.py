"""The arbiter's way to what xenstore says of its domains; what it finds there is noted once."""

from dataclasses import dataclass

from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.records import Records
from maxmemd.errors import XenstoreError
from maxmemd.policy.facts import StoreFacts
from maxmemd.policy.kinds import EntryKind
from maxmemd.ports import Pusher


@dataclass(slots=True)
class NodeReader:
    """Reads domains' nodes. Belongs to the arbiter's thread."""

    records: Records
    pusher: Pusher

    def read(self, instance: Instance) -> StoreFacts:
        """Return what xenstore says of an instance now. Raises XenstoreError."""
        return self.note(instance, self.pusher.facts(instance.domid))

    def read_if_possible(self, instance: Instance) -> StoreFacts | None:
        """Return the same, or None where xenstore cannot be asked."""
        try:
            return self.read(instance)
        except XenstoreError:
            return None

    def note(self, instance: Instance, nodes: StoreFacts) -> StoreFacts:
        """Let an instance know what was read, and note what is there and is no amount."""
        before = instance.unreadable
        instance.on_nodes_read(nodes)
        for each in nodes.unreadable:
            if each not in before:
                words = {"domid": instance.domid, "node": each.node, "value": each.value}
                self.records.note(instance.uuid, EntryKind.NODE_UNREADABLE, words)
        return nodes
