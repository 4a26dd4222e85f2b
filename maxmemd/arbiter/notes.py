"""What waits for the next commit and changes no record.

Entries of what the daemon saw, refusals, pushes, and what instances are by now. While the ledger
takes nothing they go on waiting, bounded in number.
"""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.instance_rows import row_of
from maxmemd.arbiter.repeated_refusals import RefusalCoalescer
from maxmemd.policy.entries import Entry, InstanceRow, PushRow
from maxmemd.policy.states import PushState
from maxmemd.ports import Clock

LOG = logging.getLogger("maxmemd.records")
NOTES_KEPT = 10_000
"""Entries that wait for the next commit; while the disk stays full the oldest are dropped."""


class Notes(NamedTuple):
    """What one commit writes of the notes that waited."""

    entries: Sequence[Entry]
    pushes: Sequence[PushRow]
    instances: Sequence[InstanceRow]


class NoteQueue:
    """The notes that wait, and those of which a failed commit does not say whether it kept them.

    Of an instance the newest row waits. `dropped` counts what was lost of a full queue.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.entries: deque[Entry] = deque(maxlen=NOTES_KEPT)
        self.pushes: deque[PushRow] = deque(maxlen=NOTES_KEPT)
        self.instances: dict[tuple[str, int], InstanceRow] = {}
        self.pushed: set[Instance] = set()
        self.repeats = RefusalCoalescer()
        self.dropped = 0
        self._is_dropping = False
        self._begun: dict[str, int] = {}
        self._in_doubt = Notes([], [], [])

    def __bool__(self) -> bool:
        return bool(self.entries or self.pushes or self.instances or self.pushed)

    def add(self, entries: Sequence[Entry]) -> None:
        """Let entries wait, with the time that it is now."""
        for entry in entries:
            self._make_room(self.entries)
            self.entries.append(entry._replace(at_ns=self._clock.wall_ns()))

    def end_repeats(self, uuids: Iterable[str]) -> None:
        """Let the counts of domains' refusals wait: as they came before what is written next."""
        for uuid in uuids:
            self.entries += self.repeats.flush(uuid)

    def add_push(self, row: PushRow, written: int) -> None:
        """Let a push wait; the entries that it follows are those written and those that wait."""
        self._make_room(self.pushes)
        self.pushes.append(row._replace(after_seq=written + len(self.entries)))

    def add_rows(self, rows: Sequence[InstanceRow]) -> None:
        """Let rows of instances wait, each in place of an older one."""
        self.instances.update({(row.uuid, row.incarnation): row for row in rows})
        for row in rows:
            self._begun[row.uuid] = max(row.incarnation, self._begun.get(row.uuid, 0))

    def add_pushed(self) -> None:
        """Let the rows of all instances wait that were pushed since; a closed one has its last."""
        for instance in self.pushed:
            if instance.push_state is not PushState.GONE:
                self.add_rows([row_of(instance)])
        self.pushed.clear()

    def last_incarnation(self, uuid: str) -> int:
        """Return the last incarnation of a domain that waits; 0 if there is none."""
        return self._begun.get(uuid, 0)

    def take(self) -> Notes:
        """Return what a commit is about to write; it waits until `on_written`."""
        self._in_doubt = Notes([*self.entries], [*self.pushes], [*self.instances.values()])
        return self._in_doubt

    def on_written(self) -> None:
        """Remove the notes that were taken, and no later ones, even if they are equal."""
        self._is_dropping = False
        written = self._in_doubt
        known = {id(one) for one in (*written.entries, *written.pushes, *written.instances)}
        self.entries = deque((one for one in self.entries if id(one) not in known), NOTES_KEPT)
        self.pushes = deque((one for one in self.pushes if id(one) not in known), NOTES_KEPT)
        self.instances = {key: row for key, row in self.instances.items() if id(row) not in known}
        self._begun = {
            uuid: life for uuid, life in self._begun.items() if (uuid, life) in self.instances
        }
        self._in_doubt = Notes([], [], [])

    def _make_room(self, waiting: deque[Entry] | deque[PushRow]) -> None:
        """Count what a full queue is about to lose, and say it once until it is written again."""
        if len(waiting) < NOTES_KEPT:
            return
        self.dropped += 1
        if not self._is_dropping:
            LOG.error("cannot keep more than %d entries of history unwritten: the oldest are lost"
                      " (limits are not)", NOTES_KEPT)  # fmt: skip
        self._is_dropping = True
