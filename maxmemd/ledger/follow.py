"""Read entries and pushes after a position in the ledger, in order.

Entries and pushes are two append-only tables. A position is the number of rows in each, so it means
the same to every reader, before and after a restart, and every event advances it by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from maxmemd.errors import EventsPruned
from maxmemd.ledger.anchor import Anchor, read_anchor
from maxmemd.ledger.place import Place
from maxmemd.ledger.schema import GENESIS, HISTORY, PUSH, as_ledger_errors, engine


@dataclass(frozen=True, slots=True)
class Position:
    """The position after entry `seq` and push `push`.

    `entry_hash` is that entry's, so that a position in another ledger, or in one that was restored
    from a backup, is recognised.
    """

    seq: int
    push: int
    entry_hash: bytes


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One entry or one push, with the positions before and after it."""

    before: Position
    after: Position
    entry: sa.Row[Any] | None
    push: sa.Row[Any] | None


START = Position(0, 0, GENESIS)
_ENTRIES = (
    sa.select(*(column for column in HISTORY.c if column.name not in ("key", "prior")))
    .where(HISTORY.c.seq > sa.bindparam("seq"))
    .order_by(HISTORY.c.seq)
    .limit(sa.bindparam("most"))
)
_PUSHES = (
    sa.select(PUSH)
    .where(PUSH.c.id > sa.bindparam("push"))
    .order_by(PUSH.c.id)
    .limit(sa.bindparam("most"))
)
_NEWEST_ENTRY = sa.select(HISTORY.c.seq, HISTORY.c.hash).order_by(HISTORY.c.seq.desc()).limit(1)
_NEWEST_PUSH = sa.select(sa.func.max(PUSH.c.id))
_HASH = sa.select(HISTORY.c.hash).where(HISTORY.c.seq == sa.bindparam("seq"))


class LedgerFollower:
    """Opens the database read-only for each query. Thread-safe.

    Every method raises LedgerError.
    """

    def __init__(self, path: Path, place: Place | None = None) -> None:
        self._path = path
        self._engine = engine(path, read_only=True)
        (place or Place()).guard(self._engine)

    def end(self) -> Position:
        """Return the position after everything that is committed."""
        with as_ledger_errors(self._path, "read the events"), self._engine.begin() as connection:
            entry = connection.execute(_NEWEST_ENTRY).first()
            push = connection.scalar(_NEWEST_PUSH) or 0
        return (
            Position(0, push, GENESIS) if entry is None else Position(entry.seq, push, entry.hash)
        )

    def place(self, seq: int, push: int) -> Position | None:
        """Return the position after this entry and this push; None if they do not exist yet.

        Raises EventsPruned if entries after it were pruned.
        """
        with as_ledger_errors(self._path, "read the events"), self._engine.begin() as connection:
            anchor = _anchor_before(connection, seq)
            found = anchor.hash if seq == anchor.seq else connection.scalar(_HASH, {"seq": seq})
            found = GENESIS if seq == 0 else found
            pushes = connection.scalar(_NEWEST_PUSH) or 0
        return None if found is None or push > pushes else Position(seq, push, found)

    def after(self, place: Position, most: int) -> list[Occurrence]:
        """Return the entries and pushes after a position, oldest first, at most twice `most`.

        Fewer than `most` means that there are no more. From the beginning it is all that is still
        there. Raises EventsPruned if entries after it were pruned.
        """
        with as_ledger_errors(self._path, "read the events"), self._engine.begin() as connection:
            first = max(place.seq, _anchor_before(connection, place.seq).seq)
            entries = connection.execute(_ENTRIES, {"seq": first, "most": most}).all()
            pushes = connection.execute(_PUSHES, {"push": place.push, "most": most}).all()
        return merged(place, entries, pushes, most)


def _anchor_before(connection: sa.Connection, seq: int) -> Anchor:
    """Return up to where entries were pruned; that may be beyond 0, the beginning, alone."""
    anchor = read_anchor(connection)
    if 0 < seq < anchor.seq:
        raise EventsPruned(
            f"cannot go on after entry {seq}: entries up to {anchor.seq} are no longer kept"
        )
    return anchor


def merged(
    place: Position, entries: Sequence[sa.Row[Any]], pushes: Sequence[sa.Row[Any]], most: int
) -> list[Occurrence]:
    """Merge entries and pushes in the order of doing; each table keeps its own order.

    A table that was cut off at `most` may continue with rows older than the rest of the other
    table, so the merge stops at its end.
    """
    found: list[Occurrence] = []
    at, to = 0, 0
    while True:
        if most in (at, to):
            break
        entry = entries[at] if at < len(entries) else None
        push = pushes[to] if to < len(pushes) else None
        if entry is not None and (push is None or _is_before(entry, push)):
            push, at = None, at + 1
            after = Position(entry.seq, place.push, entry.hash)
        elif push is not None:
            entry, to = None, to + 1
            after = Position(place.seq, push.id, place.entry_hash)
        else:
            break
        found.append(Occurrence(place, after, entry, push))
        place = after
    return found


def _is_before(entry: sa.Row[Any], push: sa.Row[Any]) -> bool:
    """Whether an entry comes before a push; of pushes of earlier versions only the time tells."""
    if push.after_seq is None:
        return bool(entry.at_ns <= push.at_ns)
    return bool(entry.seq <= push.after_seq)
