"""Find the entry that made a revision of a record.

Within the life of a record revisions rise by one. A forgotten record begins again at revision 1.
Where older entries were pruned a walk ends; those that are kept all the same have an index.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

from maxmemd.ledger.schema import BEGINNING, HISTORY, KEPT, MILESTONE, RECORD
from maxmemd.ledger.walks import ENTRIES, MOST_STEPS, NO_END

MOST_LIVES = 16
"""Lives of a record that are searched for a revision: the newest, which alone can be decided on,
and some before it."""

_UUID = sa.bindparam("uuid", type_=sa.Text)
_SEQ = sa.bindparam("seq", type_=sa.BigInteger)
_REVISION = sa.bindparam("revision", type_=sa.BigInteger)


def revision_entry(connection: sa.Connection, uuid: str, revision: int) -> sa.Row[Any] | None:
    """Return the newest entry that made this revision of a record; None if there is none."""
    return revision_entries(connection, uuid, [revision]).get(revision)


def revision_entries(
    connection: sa.Connection,
    uuid: str,
    revisions: Iterable[int],
    check: Callable[[], None] = lambda: None,
) -> dict[int, sa.Row[Any]]:
    """Return likewise the entries of several; `check` is called before each is looked for."""
    wanted = set(revisions)
    kept = {row.revision: row for row in connection.execute(_KEPT, {"uuid": uuid})}
    begin = connection.scalar(_BEGINNINGS, {"uuid": uuid}) or 0
    found = {n: row for n, row in kept.items() if n in wanted and row.seq >= begin}
    for life in _lives(connection, uuid) if len(found) < len(wanted) else ():
        for revision in wanted.difference(found):
            check()
            entry = _maker_in(connection, uuid, life, revision)
            if entry is not None:
                found[revision] = entry
        if len(found) == len(wanted):
            break
    return {**{n: row for n, row in kept.items() if n in wanted}, **found}


class _Life(NamedTuple):
    """The entries of a domain from `begin` up to before `end`; `last` is the newest of them.

    `reached` is the last revision that they made, as far as it is known.
    """

    begin: int
    end: int
    last: int
    reached: int


def _lives(connection: sa.Connection, uuid: str) -> Iterator[_Life]:
    """Yield the lives of a domain's record, newest first."""
    end = NO_END
    begins = connection.scalars(_BEGINNINGS, {"uuid": uuid}).all()
    for begin in (*begins, 0):  # 0: the beginning of a life may have been pruned
        last = ENTRIES.newest_below(connection, uuid, end)
        reached = connection.scalar(_REACHED, {"uuid": uuid, "seq": last})
        yield _Life(begin, end, last, reached or (NO_END if begin else 0))
        end = begin


def _maker_in(
    connection: sa.Connection, uuid: str, life: _Life, revision: int
) -> sa.Row[Any] | None:
    if revision > life.reached:
        return None
    top = min(life.reached, revision + MOST_STEPS)
    asked = {"uuid": uuid, "begin": life.begin, "end": life.end, "revision": revision, "top": top}
    start = connection.scalar(_MILESTONE_OF_REVISION, asked) or life.last
    found = connection.execute(_MAKER, {"seq": start, "revision": revision}).first()
    return found if found is not None and found.seq >= life.begin else None


def _maker() -> sa.Select[Any]:
    """Select the entry that made :revision, walking from :seq no farther than to an older one."""
    is_older = sa.and_(HISTORY.c.state.is_not(None), HISTORY.c.revision <= _REVISION)
    chain = ENTRIES.walk(sa.not_(is_older), sa.literal(MOST_STEPS))
    found = sa.select(HISTORY).join(chain, HISTORY.c.seq == chain.c.seq)
    return found.where(HISTORY.c.state.is_not(None), HISTORY.c.revision == _REVISION)


def _milestone_of_revision() -> sa.Select[Any]:
    """Select the first milestone of one life that has :revision, or else the next up to :top.

    One look for each revision, and not one for all, because an index has those of all lives.
    """

    def first(revision: sa.ColumnElement[int]) -> sa.ScalarSelect[Any]:
        of_life = (HISTORY.c.seq >= sa.bindparam("begin"), HISTORY.c.seq < sa.bindparam("end"))
        found = sa.select(sa.func.min(HISTORY.c.seq))
        found = found.where(HISTORY.c.uuid == _UUID, HISTORY.c.revision == revision, MILESTONE)
        return found.where(*of_life).scalar_subquery()

    began = sa.select(_REVISION.label("revision"), first(_REVISION).label("seq"))
    look = began.cte("look", recursive=True)
    above = look.c.revision + 1
    goes_on = (look.c.seq.is_(None), look.c.revision < sa.bindparam("top"))
    look = look.union_all(sa.select(above, first(above)).where(*goes_on))
    return sa.select(look.c.seq).where(look.c.seq.is_not(None))


def _reached() -> sa.Select[Any]:
    """Select the last revision of the life that ends with entry :seq; 0 or none if nothing tells.

    It is the record's where that stands, and else what the last entry says that is about one.
    """
    head = HISTORY.alias("head")
    found = sa.select(head.c.revision).join(RECORD, RECORD.c.head == head.c.seq)
    stands = found.where(RECORD.c.uuid == _UUID, RECORD.c.newest == _SEQ).scalar_subquery()
    chain = ENTRIES.walk(HISTORY.c.revision == 0, sa.literal(MOST_STEPS))
    last = sa.select(sa.func.max(HISTORY.c.revision)).join(chain, HISTORY.c.seq == chain.c.seq)
    return sa.select(sa.func.coalesce(stands, last.scalar_subquery()))


_KEPT = (
    sa.select(HISTORY)
    .join(KEPT, KEPT.c.seq == HISTORY.c.seq)
    .where(KEPT.c.uuid == _UUID, HISTORY.c.state.is_not(None))
)
_MAKER = _maker()
_MILESTONE_OF_REVISION = _milestone_of_revision()
_REACHED = _reached()
_BEGINNINGS = (
    sa.select(HISTORY.c.seq)
    .where(HISTORY.c.uuid == _UUID, BEGINNING)
    .order_by(HISTORY.c.seq.desc())
    .limit(MOST_LIVES)
)
