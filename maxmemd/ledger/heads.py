"""Where each domain is in the history: in memory for the records that stand, else looked up."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import sqlalchemy as sa

from maxmemd.ledger.statements import DROP_FORMER, DROP_RECORD, FORMERS, HEADS, SOME_FORMER


class Head(NamedTuple):
    """The entry that a domain's record follows from, its newest entry, and its last incarnation.

    `head` is None where there is no record, `newest` 0 without an entry.
    """

    head: int | None
    newest: int
    incarnation: int


NOWHERE = Head(None, 0, 0)
"""A domain of which there is no history."""


class Heads:
    """The heads of all domains. Of those without a record nothing is in memory."""

    def __init__(self) -> None:
        self._standing: dict[str, Head] = {}

    def load(self, standing: Mapping[str, Head]) -> None:
        """Take the heads of all records that stand."""
        self._standing = dict(standing)

    def standing(self, uuid: str) -> Head | None:
        """Return the head of a record that stands; None for any other domain."""
        return self._standing.get(uuid)

    def find(self, connection: sa.Connection, uuids: Iterable[str]) -> dict[str, Head]:
        """Return the heads of domains, NOWHERE for those of which there is no history."""
        found = {uuid: self._standing.get(uuid, NOWHERE) for uuid in uuids}
        others = [uuid for uuid, head in found.items() if head is NOWHERE]
        if others:
            rows = connection.execute(SOME_FORMER, {"uuids": others})
            found.update((uuid, Head(None, *where)) for uuid, *where in rows)
        return found

    def write(self, connection: sa.Connection, heads: Mapping[str, Head]) -> None:
        """Write heads that changed; a record that begins or is dropped changes its table."""
        standing = [(uuid, *head) for uuid, head in heads.items() if head.head is not None]
        others = [(uuid, *head[1:]) for uuid, head in heads.items() if head.head is None]
        begun = [{"uuid_": uuid} for uuid, *_ in standing if uuid not in self._standing]
        dropped = [{"uuid_": uuid} for uuid, *_ in others if uuid in self._standing]
        if standing:
            HEADS.run(connection, standing)
        if others:
            FORMERS.run(connection, others)
        if begun:
            connection.execute(DROP_FORMER, begun)
        if dropped:
            connection.execute(DROP_RECORD, dropped)

    def on_committed(self, heads: Mapping[str, Head]) -> None:
        """Keep what was written, once it is committed."""
        for uuid, head in heads.items():
            if head.head is None:
                self._standing.pop(uuid, None)
            else:
                self._standing[uuid] = head
