"""Write pushes, each with what names its domain's one before it."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as upsert

from maxmemd.ledger.schema import LAST_PUSH, PUSH
from maxmemd.ledger.statements import Prepared
from maxmemd.policy.entries import PushRow

_LAST = sa.select(sa.func.max(PUSH.c.id))
_SOME_LAST = sa.select(LAST_PUSH).where(LAST_PUSH.c.uuid.in_(sa.bindparam("uuids", expanding=True)))
_SET_LAST = upsert(LAST_PUSH)
_SET_LAST = _SET_LAST.on_conflict_do_update(
    index_elements=["uuid"],
    set_={name: _SET_LAST.excluded[name] for name in ("id", "number")},
)
_ADD = Prepared(sa.insert(PUSH), PUSH.c.keys())
_SET = Prepared(_SET_LAST, LAST_PUSH.c.keys())


def write_pushes(connection: sa.Connection, pushes: Sequence[PushRow], newest: int) -> None:
    """Write pushes; `newest` is the newest entry: of notes that were lost there is none."""
    uuids = list({push.uuid for push in pushes})
    known = connection.execute(_SOME_LAST, {"uuids": uuids})
    last = {uuid: (at, number) for uuid, at, number in known}
    first = (connection.scalar(_LAST) or 0) + 1
    rows: list[tuple[Any, ...]] = []
    for at, push in enumerate(pushes, first):
        *fields, after_seq = push
        after_seq = None if after_seq is None else min(after_seq, newest)
        prior, number = last.get(push.uuid, (0, 0))
        rows.append((at, *fields, after_seq, prior, number + 1))
        last[push.uuid] = (at, number + 1)
    _ADD.run(connection, rows)
    _SET.run(connection, [(uuid, *where) for uuid, where in last.items()])
