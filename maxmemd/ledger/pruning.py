"""Delete the oldest entries, a stride at a time; what something still follows from is kept.

The pages of what is deleted are used again by what is written next: the file does not shrink, and
does not grow while as much is pruned as is written.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as upsert

from maxmemd.ledger.anchor import Anchor, anchor_row, read_anchor
from maxmemd.ledger.heads import Heads
from maxmemd.ledger.integrity import check_entries
from maxmemd.ledger.schema import FORMER, HISTORY, INSTANCE, KEPT, LAST_PUSH, PRUNED, PUSH, RECORD
from maxmemd.policy.codec import from_text
from maxmemd.policy.retention import Retention, slot_of

STRIDE = 200
"""Entries that are looked at in one stride: a few milliseconds."""

_OLDEST = (
    sa.select(HISTORY)
    .where(HISTORY.c.seq > sa.bindparam("after"))
    .order_by(HISTORY.c.seq)
    .limit(sa.bindparam("most"))
)
_OLDEST_PUSHES = (
    sa.select(PUSH.c.id, PUSH.c.uuid, PUSH.c.after_seq, PUSH.c.at_ns)
    .order_by(PUSH.c.id)
    .limit(2 * STRIDE)
)
_NEWEST_PUSH = sa.select(sa.func.max(PUSH.c.id))
_SEQS: sa.BindParameter[Any] = sa.bindparam("seqs", expanding=True)
_STATES = sa.select(HISTORY.c.uuid, HISTORY.c.revision, HISTORY.c.state)
_STATES = _STATES.where(HISTORY.c.seq.in_(_SEQS))
_SOME_KEPT = (
    sa.select(KEPT.c.seq, KEPT.c.slot, HISTORY.c.uuid, HISTORY.c.revision, HISTORY.c.kind)
    .join(HISTORY, HISTORY.c.seq == KEPT.c.seq)
    .where(KEPT.c.seq > sa.bindparam("after"))
    .order_by(KEPT.c.seq)
    .limit(STRIDE)
)
_KEPT_BEFORE = sa.select(KEPT.c.seq).where(
    KEPT.c.uuid == sa.bindparam("uuid"), KEPT.c.slot == sa.bindparam("slot")
)
_KEEP = sa.insert(KEPT)
_DROP_KEPT = sa.delete(KEPT).where(KEPT.c.seq.in_(_SEQS))
_DROP_ENTRIES = sa.delete(HISTORY).where(HISTORY.c.seq.in_(_SEQS))
_DROP_PUSHES = sa.delete(PUSH).where(PUSH.c.id <= sa.bindparam("last"))
_DROP_LAST = sa.delete(LAST_PUSH).where(
    LAST_PUSH.c.id <= sa.bindparam("last"),
    LAST_PUSH.c.uuid.in_(sa.bindparam("uuids", expanding=True)),
    LAST_PUSH.c.uuid.not_in(sa.select(RECORD.c.uuid)),
)
_DROP_FORMER = sa.delete(FORMER).where(
    FORMER.c.newest <= sa.bindparam("last"),
    FORMER.c.uuid.in_(sa.bindparam("uuids", expanding=True)),
    FORMER.c.uuid.not_in(sa.select(INSTANCE.c.uuid)),
)
_MOVE_ANCHOR = upsert(PRUNED)
_MOVE_ANCHOR = _MOVE_ANCHOR.on_conflict_do_update(
    index_elements=["id"],
    set_={name: _MOVE_ANCHOR.excluded[name] for name in ("seq", "hash", "about")},
)


class Pruner:
    """Prunes in one connection, inside a transaction of its caller's."""

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self._swept = 0

    def stride(self, connection: sa.Connection, rule: Retention, newest: int, now_ns: int) -> bool:
        """Delete up to STRIDE of the oldest entries; return whether there may be more to delete.

        An entry that is not as it was written is not deleted. Raises LedgerCorrupt for it.
        """
        anchor = read_anchor(connection)
        old = _old_entries(connection, anchor, rule, newest, now_ns)
        check_entries(old, anchor.hash, after=anchor.seq)
        last = old[-1] if old else anchor
        pushes = _drop_pushes(connection, last.seq, old[-1].at_ns if old else 0)
        if not old and not pushes:
            return False
        unneeded = self._sweep(connection) | self._keep(connection, anchor, old)
        connection.execute(_DROP_KEPT, {"seqs": sorted(unneeded)})
        connection.execute(_DROP_ENTRIES, {"seqs": sorted(unneeded)})
        uuids = list({row.uuid for row in old})
        connection.execute(_DROP_FORMER, {"last": last.seq, "uuids": uuids})
        entries = anchor.entries + len(unneeded)
        moved = Anchor(last.seq, last.hash, entries, anchor.pushes + pushes, now_ns, rule)
        connection.execute(_MOVE_ANCHOR, anchor_row(moved))
        return len(old) == STRIDE or pushes == 2 * STRIDE

    def _keep(
        self, connection: sa.Connection, anchor: Anchor, old: Sequence[sa.Row[Any]]
    ) -> set[int]:
        """Keep the entries that are needed; return those of the others, or of before, that go."""
        made = self._made(connection, [row.uuid for row in old])
        unneeded, before, kept = set(), anchor.hash, dict[tuple[str, int], dict[str, object]]()
        for row in old:
            slot = _slot(row, made, has_state=row.state is not None)
            if slot is None:
                unneeded.add(row.seq)
            else:
                former = kept.get((row.uuid, slot))
                asked = {"uuid": row.uuid, "slot": slot}
                seq = former["seq"] if former else connection.scalar(_KEPT_BEFORE, asked)
                unneeded |= set() if seq is None else {seq}
                kept[row.uuid, slot] = {**asked, "seq": row.seq, "before": before}
            before = row.hash
        connection.execute(_DROP_KEPT, {"seqs": sorted(unneeded)})
        if kept:
            connection.execute(_KEEP, list(kept.values()))
        return unneeded

    def _sweep(self, connection: sa.Connection) -> set[int]:
        """Return kept entries that are not needed any more, of some of them in turn."""
        rows = connection.execute(_SOME_KEPT, {"after": self._swept}).all()
        self._swept = rows[-1].seq if len(rows) == STRIDE else 0
        made = self._made(connection, [row.uuid for row in rows])
        return {row.seq for row in rows if _slot(row, made, has_state=True) is None}

    def _made(self, connection: sa.Connection, uuids: Sequence[str]) -> Mapping[str, set[int]]:
        """Return the revisions that the records of these domains consist of."""
        heads = [self._heads.standing(uuid) for uuid in dict.fromkeys(uuids)]
        seqs = [head.head for head in heads if head is not None]
        found = connection.execute(_STATES, {"seqs": seqs}).all()
        # all else that the states say is left alone: to read it would take most of a stride
        return {
            row.uuid: {row.revision, *(part[-1] for part in from_text(row.state)["components"])}
            for row in found
        }


def _old_entries(
    connection: sa.Connection, anchor: Anchor, rule: Retention, newest: int, now_ns: int
) -> list[sa.Row[Any]]:
    """Return the oldest entries, as many of them in a row as are not to be kept."""

    def is_over(row: sa.Row[Any]) -> bool:
        has_key = row.key is not None
        return rule.is_over(newest - row.seq, row.at_ns, now_ns, has_key=has_key)

    for most in (1, STRIDE):  # mostly there is nothing to do
        rows = connection.execute(_OLDEST, {"after": anchor.seq, "most": most}).all()
        old = list(takewhile(is_over, rows))
        if not old:
            break
    return old


def _slot(row: Any, made: Mapping[str, set[int]], *, has_state: bool) -> int | None:
    return slot_of(row.kind, row.revision, made.get(row.uuid), has_state=has_state)


def _drop_pushes(connection: sa.Connection, last_seq: int, last_ns: int) -> int:
    """Delete the oldest pushes that came after entries up to this one; return how many.

    Those of earlier versions, which do not say after which, go by their time. The newest push
    stays, so that numbers are not given twice.
    """

    def is_old(row: Any) -> bool:
        if row.after_seq is None:
            return bool(row.at_ns <= last_ns)
        return bool(row.after_seq <= last_seq)

    rows = connection.execute(_OLDEST_PUSHES).all()
    newest = connection.scalar(_NEWEST_PUSH) or 0
    old = list(takewhile(lambda row: row.id < newest and is_old(row), rows))
    if old:
        connection.execute(_DROP_PUSHES, {"last": old[-1].id})
        uuids = list({row.uuid for row in old})
        connection.execute(_DROP_LAST, {"last": old[-1].id, "uuids": uuids})
    return len(old)
