"""What happened, in order: the ledger's lines and pushes after a place in it, read-only.

Lines and pushes are two tables that only grow. A place is how many of each there are, so it
means the same for every reader, before and after a restart, and every event moves it by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from maxmemd.ledger.tables import GENESIS, JOURNAL, PUSH, as_ledger_errors, engine


@dataclass(frozen=True, slots=True)
class Place:
    """After line `seq` and push `push`; `tail` is the hash of that line.

    So a place in another ledger, or in one that was put back from a backup, is seen.
    """

    seq: int
    push: int
    tail: bytes


@dataclass(frozen=True, slots=True)
class Happening:
    """One line or one push, from one place to the next."""

    before: Place
    after: Place
    line: sa.Row[Any] | None
    push: sa.Row[Any] | None


START = Place(0, 0, GENESIS)
_LINES = (
    sa.select(*(column for column in JOURNAL.c if column.name not in ("key", "prior")))
    .where(JOURNAL.c.seq > sa.bindparam("seq"))
    .order_by(JOURNAL.c.seq)
    .limit(sa.bindparam("most"))
)
_PUSHES = (
    sa.select(PUSH)
    .where(PUSH.c.id > sa.bindparam("push"))
    .order_by(PUSH.c.id)
    .limit(sa.bindparam("most"))
)
_NEWEST_LINE = sa.select(JOURNAL.c.seq, JOURNAL.c.hash).order_by(JOURNAL.c.seq.desc()).limit(1)
_NEWEST_PUSH = sa.select(sa.func.max(PUSH.c.id))
_HASH = sa.select(JOURNAL.c.hash).where(JOURNAL.c.seq == sa.bindparam("seq"))


class LedgerTail:
    """Opens the database read-only for each question, from any thread.

    Every method raises LedgerError.
    """

    def __init__(self, path: Path) -> None:
        self._engine = engine(path, read_only=True)

    def end(self) -> Place:
        """Return the place after everything that is committed."""
        with as_ledger_errors("read the events"), self._engine.begin() as connection:
            line = connection.execute(_NEWEST_LINE).first()
            push = connection.scalar(_NEWEST_PUSH) or 0
        return Place(0, push, GENESIS) if line is None else Place(line.seq, push, line.hash)

    def place(self, seq: int, push: int) -> Place | None:
        """Return the place after this line and this push; None where there is none yet."""
        with as_ledger_errors("read the events"), self._engine.begin() as connection:
            tail = GENESIS if seq == 0 else connection.scalar(_HASH, {"seq": seq})
            pushes = connection.scalar(_NEWEST_PUSH) or 0
        return None if tail is None or push > pushes else Place(seq, push, tail)

    def after(self, place: Place, most: int) -> list[Happening]:
        """Return what happened after a place, oldest first, at most twice `most`.

        Fewer than `most` means that there is no more.
        """
        with as_ledger_errors("read the events"), self._engine.begin() as connection:
            lines = connection.execute(_LINES, {"seq": place.seq, "most": most}).all()
            pushes = connection.execute(_PUSHES, {"push": place.push, "most": most}).all()
        return merged(place, lines, pushes, most)


def merged(
    place: Place, lines: Sequence[sa.Row[Any]], pushes: Sequence[sa.Row[Any]], most: int
) -> list[Happening]:
    """Return lines and pushes by time, each kind in its own order whatever the clock did.

    What was cut off at `most` may go on with what is older than the rest of the other kind, so
    nothing is told beyond its end.
    """
    found: list[Happening] = []
    at, to = 0, 0
    while True:
        if at == len(lines) == most or to == len(pushes) == most:
            break
        line = lines[at] if at < len(lines) else None
        push = pushes[to] if to < len(pushes) else None
        if line is not None and (push is None or line.at_ns <= push.at_ns):
            push, at = None, at + 1
            after = Place(line.seq, place.push, line.hash)
        elif push is not None:
            line, to = None, to + 1
            after = Place(place.seq, push.id, place.tail)
        else:
            break
        found.append(Happening(place, after, line, push))
        place = after
    return found
