"""The statements of the writing connection, compiled once."""

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert as upsert

from maxmemd.ledger.schema import (
    BEGINNING,
    DRIFT_MODE,
    END,
    FORMER,
    HISTORY,
    INSTANCE,
    MOST_ROWS,
    RECORD,
)
from maxmemd.ledger.walks import MOST_STEPS

_ADD_ENTRY = sa.insert(HISTORY)
_SET_HEAD = upsert(RECORD)
_SET_HEAD = _SET_HEAD.on_conflict_do_update(
    index_elements=["uuid"],
    set_={name: _SET_HEAD.excluded[name] for name in ("head", "newest", "incarnation")},
)
_SET_FORMER = upsert(FORMER)
_SET_FORMER = _SET_FORMER.on_conflict_do_update(
    index_elements=["uuid"],
    set_={name: _SET_FORMER.excluded[name] for name in ("newest", "incarnation")},
)
_SET_INSTANCE = upsert(INSTANCE)
_SET_INSTANCE = _SET_INSTANCE.on_conflict_do_update(
    index_elements=["uuid", "incarnation"],
    set_={
        name: _SET_INSTANCE.excluded[name]
        for name in (
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

    They come from a damaged `record` table, which no hash chain covers. An entry without a state
    has the revision of its record, so it is enough that the newest entry and the head have the
    same. Only where they do not, as after refusals that were counted for a while, the entries
    between are walked, for MOST_STEPS at most.
    """
    newest, head = HISTORY.alias("newest"), HISTORY.alias("head")
    suspects = (
        sa.select(RECORD.c.uuid, RECORD.c.head, RECORD.c.newest)
        .outerjoin(newest, (newest.c.seq == RECORD.c.newest) & (newest.c.uuid == RECORD.c.uuid))
        .outerjoin(head, (head.c.seq == RECORD.c.head) & (head.c.uuid == RECORD.c.uuid))
        .where(RECORD.c.head != RECORD.c.newest)
        .where(
            sa.or_(newest.c.state.is_not(None), newest.c.revision.is_distinct_from(head.c.revision))
        )
        .cte("suspects")
    )
    walk = sa.select(
        suspects.c.uuid,
        suspects.c.head,
        suspects.c.newest.label("seq"),
        sa.literal(1).label("step"),
    ).cte("walk", recursive=True)
    walk = walk.union_all(
        sa.select(walk.c.uuid, walk.c.head, HISTORY.c.prior, walk.c.step + 1)
        .join(walk, (HISTORY.c.seq == walk.c.seq) & (HISTORY.c.uuid == walk.c.uuid))
        .where(HISTORY.c.state.is_(None), HISTORY.c.prior < HISTORY.c.seq)
        .where(walk.c.step < MOST_STEPS)
    )
    # what is between an old head and the anchor may be pruned
    is_pruned = sa.and_(walk.c.seq <= sa.bindparam("anchor"), walk.c.head <= walk.c.seq)
    reached = sa.select(walk.c.uuid).where(sa.or_(walk.c.seq == walk.c.head, is_pruned))
    return sa.select(suspects.c.uuid).where(suspects.c.uuid.not_in(reached))


def _last_ends() -> sa.Select[Any]:
    """Select the newest `instance-ended` entry of each domain that has a record.

    `first_seq` is the seq of the entry with which the record began. An end before that is of a
    record that was forgotten.
    """

    def newest(alias: str, kind: str) -> sa.ScalarSelect[Any]:
        entry = HISTORY.alias(alias)
        found = sa.select(sa.func.max(entry.c.seq)).where(entry.c.uuid == RECORD.c.uuid)
        return found.where(sa.text(kind)).scalar_subquery()

    first = newest("beginning", BEGINNING.text).label("first_seq")
    return sa.select(HISTORY, first).join(RECORD, HISTORY.c.seq == newest("ending", END.text))


SET_NAME = sa.update(RECORD).where(RECORD.c.uuid == sa.bindparam("uuid_"))
SET_NAME = SET_NAME.values(name=sa.bindparam("name_"))
NAMES = sa.select(RECORD.c.uuid, RECORD.c.name).where(RECORD.c.name.is_not(None))
LAGGING_HEADS = _lagging_heads().limit(1)
ENDED = _last_ends()
STANDING = sa.select(RECORD.c.uuid, RECORD.c.head, RECORD.c.newest, RECORD.c.incarnation)
SOME_FORMER = sa.select(FORMER).where(FORMER.c.uuid.in_(sa.bindparam("uuids", expanding=True)))
DROP_RECORD = sa.delete(RECORD).where(RECORD.c.uuid == sa.bindparam("uuid_"))
DROP_FORMER = sa.delete(FORMER).where(FORMER.c.uuid == sa.bindparam("uuid_"))
DROP_INSTANCE = sa.delete(INSTANCE).where(
    INSTANCE.c.uuid == sa.bindparam("uuid_"), INSTANCE.c.incarnation == sa.bindparam("life")
)
DRIFT_MODES = sa.select(DRIFT_MODE)
DROP_DRIFT_MODE = sa.delete(DRIFT_MODE).where(DRIFT_MODE.c.uuid == sa.bindparam("uuid_"))
SET_DRIFT_MODE = upsert(DRIFT_MODE).values(uuid=sa.bindparam("uuid_"), mode=sa.bindparam("mode_"))
SET_DRIFT_MODE = SET_DRIFT_MODE.on_conflict_do_update(
    index_elements=["uuid"], set_={"mode": SET_DRIFT_MODE.excluded.mode}
)
SCHEMA_NAMES = sa.text("SELECT name FROM sqlite_master")
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
HEADS = Prepared(_SET_HEAD, ["uuid", "head", "newest", "incarnation"])
FORMERS = Prepared(_SET_FORMER, FORMER.c.keys())
INSTANCES = Prepared(_SET_INSTANCE, INSTANCE.c.keys())
