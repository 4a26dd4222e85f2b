"""The statements of the writing connection, compiled once."""

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert as upsert

from maxmemd.ledger.schema import DRIFT_MODE, HISTORY, INSTANCE, MOST_ROWS, PUSH, RECORD
from maxmemd.policy.kinds import EntryKind

_ADD_ENTRY = sa.insert(HISTORY)
_ADD_PUSH = sa.insert(PUSH)
_SET_HEAD = upsert(RECORD)
_SET_HEAD = _SET_HEAD.on_conflict_do_update(
    index_elements=["uuid"],
    set_={name: _SET_HEAD.excluded[name] for name in ("head", "newest")},
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
            "fight_ns",
        )
    },
)


def _lagging_heads() -> sa.Select[Any]:
    """Select records whose head is not their domain's newest entry with a state.

    They come from a damaged `record` table, which no hash chain covers.
    """
    walk = (
        sa.select(RECORD.c.uuid, RECORD.c.head, RECORD.c.newest.label("seq"))
        .where(RECORD.c.head.is_not(None), RECORD.c.head != RECORD.c.newest)
        .cte("walk", recursive=True)
    )
    walk = walk.union_all(
        sa.select(walk.c.uuid, walk.c.head, HISTORY.c.prior)
        .join(walk, (HISTORY.c.seq == walk.c.seq) & (HISTORY.c.uuid == walk.c.uuid))
        .where(HISTORY.c.state.is_(None), HISTORY.c.prior < HISTORY.c.seq)
    )
    reached = sa.select(walk.c.uuid).where(walk.c.seq == walk.c.head)
    return sa.select(RECORD.c.uuid).where(
        RECORD.c.head.is_not(None),
        RECORD.c.head != RECORD.c.newest,
        RECORD.c.uuid.not_in(reached),
    )


def _last_ends() -> sa.Select[Any]:
    """Select each domain's newest `instance-ended` entry.

    A domain that reboots is gone for seconds only, so the walk stops after 20 entries.
    """
    ended = EntryKind.INSTANCE_ENDED.value
    walk = (
        sa.select(RECORD.c.uuid, RECORD.c.newest.label("seq"), sa.literal(1).label("step"))
        .where(RECORD.c.head.is_not(None))
        .cte("walk", recursive=True)
    )
    entry = (HISTORY.c.seq == walk.c.seq) & (HISTORY.c.uuid == walk.c.uuid)
    walk = walk.union_all(
        sa.select(walk.c.uuid, HISTORY.c.prior, walk.c.step + 1)
        .join(walk, entry)
        .where(
            HISTORY.c.kind != ended,
            HISTORY.c.prior < HISTORY.c.seq,
            walk.c.step < 20,
        )
    )
    entry = (HISTORY.c.seq == walk.c.seq) & (HISTORY.c.uuid == walk.c.uuid)
    return sa.select(HISTORY).join(walk, entry).where(HISTORY.c.kind == ended)


SET_NAME = sa.update(RECORD).where(RECORD.c.uuid == sa.bindparam("uuid_"))
SET_NAME = SET_NAME.values(name=sa.bindparam("name_"))
NAMES = sa.select(RECORD.c.uuid, RECORD.c.name).where(
    RECORD.c.head.is_not(None), RECORD.c.name.is_not(None)
)
LAGGING_HEADS = _lagging_heads().limit(1)
ENDED = _last_ends()
HEADS_AND_NEWEST = sa.select(RECORD.c.uuid, RECORD.c.head, RECORD.c.newest)
SOME_HEADS_AND_NEWEST = HEADS_AND_NEWEST.where(
    RECORD.c.uuid.in_(sa.bindparam("uuids", expanding=True))
)
DRIFT_MODES = sa.select(DRIFT_MODE)
DROP_DRIFT_MODE = sa.delete(DRIFT_MODE).where(DRIFT_MODE.c.uuid == sa.bindparam("uuid_"))
SET_DRIFT_MODE = upsert(DRIFT_MODE).values(uuid=sa.bindparam("uuid_"), mode=sa.bindparam("mode_"))
SET_DRIFT_MODE = SET_DRIFT_MODE.on_conflict_do_update(
    index_elements=["uuid"], set_={"mode": SET_DRIFT_MODE.excluded.mode}
)
BY_KEYS = sa.select(HISTORY).where(HISTORY.c.key.in_(sa.bindparam("keys", expanding=True)))


class Prepared:
    """A statement for many rows, compiled once: compiling takes longer than running it."""

    def __init__(self, statement: sa.Insert, columns: Sequence[str]) -> None:
        compiled = statement.compile(dialect=sqlite.dialect(), column_keys=columns)
        head, values, tail = str(compiled).partition(_row_of_marks(columns))
        self._texts = [head + ", ".join([values] * rows) + tail for rows in range(1, MOST_ROWS + 1)]
        self.of = attrgetter(*(compiled.positiontup or ()))
        """Return an object's fields as a row of this statement."""

    def run(self, connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run the statement for all rows, each in the order of the table's columns.

        One step writes many rows: each step releases the GIL, and waiting for it again after every
        row would take longer than SQLite's work.
        """
        for done in range(0, len(rows), MOST_ROWS):
            some = rows[done : done + MOST_ROWS]
            fields = tuple(chain.from_iterable(some))
            connection.exec_driver_sql(self._texts[len(some) - 1], fields)


def _row_of_marks(columns: Sequence[str]) -> str:
    return "(" + ", ".join("?" * len(columns)) + ")"


ENTRIES = Prepared(_ADD_ENTRY, HISTORY.c.keys())
HEADS = Prepared(_SET_HEAD, ["uuid", "head", "newest"])
INSTANCES = Prepared(_SET_INSTANCE, INSTANCE.c.keys())
PUSHES = Prepared(_ADD_PUSH, [column.name for column in PUSH.c if column.name != "id"])
