"""The statements of the one connection that writes, compiled once."""

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert as upsert

from maxmemd.ledger.schema import HISTORY, INSTANCE, MOST_ROWS, PUSH, RECORD

_ADD_LINE = sa.insert(HISTORY)
_ADD_PUSH = sa.insert(PUSH)
_SET_HEAD = upsert(RECORD)
_SET_HEAD = _SET_HEAD.on_conflict_do_update(
    index_elements=["uuid"],
    set_={name: _SET_HEAD.excluded[name] for name in ("seq", "tail")},
)
_SET_INSTANCE = upsert(INSTANCE)
_SET_INSTANCE = _SET_INSTANCE.on_conflict_do_update(
    index_elements=["uuid", "incarnation"],
    set_={
        name: _SET_INSTANCE.excluded[name]
        for name in (
            "ended_ns",
            "push_state",
            "settled_revision",
            "effects",
            "build",
            "drift_pages",
        )
    },
)


def _behind() -> sa.Select[Any]:
    """Select records that do not stand on their domain's newest line with a state."""
    walk = (
        sa.select(RECORD.c.uuid, RECORD.c.seq.label("head"), RECORD.c.tail.label("seq"))
        .where(RECORD.c.seq.is_not(None), RECORD.c.seq != RECORD.c.tail)
        .cte("walk", recursive=True)
    )
    walk = walk.union_all(
        sa.select(walk.c.uuid, walk.c.head, HISTORY.c.prior)
        .join(walk, (HISTORY.c.seq == walk.c.seq) & (HISTORY.c.uuid == walk.c.uuid))
        .where(HISTORY.c.state.is_(None), HISTORY.c.prior < HISTORY.c.seq)
    )
    reached = sa.select(walk.c.uuid).where(walk.c.seq == walk.c.head)
    return sa.select(RECORD.c.uuid).where(
        RECORD.c.seq.is_not(None), RECORD.c.seq != RECORD.c.tail, RECORD.c.uuid.not_in(reached)
    )


def _ended() -> sa.Select[Any]:
    """Select the lines of the instances that ended last, where none was announced since.

    A domain that reboots is away for seconds: what is 20 lines back is not about that.
    """
    ends = ("instance-ended", "build")
    walk = (
        sa.select(RECORD.c.uuid, RECORD.c.tail.label("seq"), sa.literal(1).label("step"))
        .where(RECORD.c.seq.is_not(None))
        .cte("walk", recursive=True)
    )
    line = (HISTORY.c.seq == walk.c.seq) & (HISTORY.c.uuid == walk.c.uuid)
    walk = walk.union_all(
        sa.select(walk.c.uuid, HISTORY.c.prior, walk.c.step + 1)
        .join(walk, line)
        .where(HISTORY.c.kind.not_in(ends), HISTORY.c.prior < HISTORY.c.seq, walk.c.step < 20)
    )
    line = (HISTORY.c.seq == walk.c.seq) & (HISTORY.c.uuid == walk.c.uuid)
    return sa.select(HISTORY).join(walk, line).where(HISTORY.c.kind == ends[0])


LAGGING_HEADS = _behind().limit(1)
ENDED = _ended()
HEADS_AND_NEWEST = sa.select(RECORD.c.uuid, RECORD.c.seq, RECORD.c.tail)
SOME_HEADS_AND_NEWEST = HEADS_AND_NEWEST.where(
    RECORD.c.uuid.in_(sa.bindparam("uuids", expanding=True))
)
BY_KEYS = sa.select(HISTORY).where(HISTORY.c.key.in_(sa.bindparam("keys", expanding=True)))


class Prepared:
    """A statement for many rows, compiled once: that costs more than SQLite takes to run it."""

    def __init__(self, statement: sa.Insert, columns: Sequence[str]) -> None:
        compiled = statement.compile(dialect=sqlite.dialect(), column_keys=columns)
        head, values, tail = str(compiled).partition(_row_of_marks(columns))
        self._texts = [head + ", ".join([values] * rows) + tail for rows in range(1, MOST_ROWS + 1)]
        self.of = attrgetter(*(compiled.positiontup or ()))
        """Return a value's fields as a row of this statement."""

    def run(self, connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run it for all rows, each in the order of the table's columns.

        Many rows go in at one step: each step gives Python's lock away, and a thread that has
        to wait for it again at every row waits longer than SQLite works.
        """
        for done in range(0, len(rows), MOST_ROWS):
            some = rows[done : done + MOST_ROWS]
            fields = tuple(chain.from_iterable(some))
            connection.exec_driver_sql(self._texts[len(some) - 1], fields)


def _row_of_marks(columns: Sequence[str]) -> str:
    return "(" + ", ".join("?" * len(columns)) + ")"


ENTRIES = Prepared(_ADD_LINE, HISTORY.c.keys())
HEADS = Prepared(_SET_HEAD, RECORD.c.keys())
INSTANCES = Prepared(_SET_INSTANCE, INSTANCE.c.keys())
PUSHES = Prepared(_ADD_PUSH, [column.name for column in PUSH.c if column.name != "id"])
