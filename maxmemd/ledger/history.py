"""Find the entries of one domain: by a bounded walk, since each entry names its predecessor.

A walk begins at the domain's newest entry, or at a *milestone*: an entry that the indices by domain
have, one in 64 by its hash. So wherever it has to go, a walk takes about 64 steps; one of
MOST_STEPS does not happen in 10^14 walks.

Within the life of a record revisions rise by one. A forgotten record begins again at revision 1.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

from maxmemd.ledger.schema import BEGINNING, FORMER, HISTORY, MILESTONE, RECORD

MOST_STEPS = 2048
"""Steps of one walk."""
MOST_LIVES = 16
"""Lives of a record that are searched for a revision: the newest, which alone can be decided on,
and some before it."""

_END = 2**63 - 1
_UUID = sa.bindparam("uuid", type_=sa.Text)
_SEQ = sa.bindparam("seq", type_=sa.BigInteger)
_REVISION = sa.bindparam("revision", type_=sa.BigInteger)


def entries(connection: sa.Connection, uuid: str, count: int, before: int | None) -> sa.Result[Any]:
    """Return `count` entries of a domain, newest first, those below entry `before`."""
    start = _newest_below(connection, uuid, _END if before is None else before)
    return connection.execute(_ENTRIES, {"seq": start, "most": count})


def is_there(connection: sa.Connection, seq: int) -> bool:
    """Whether an entry exists: there is no entry 0, and old ones may have been pruned."""
    return connection.scalar(_IS_THERE, {"seq": seq}) is not None


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
    found: dict[int, sa.Row[Any]] = {}
    for life in _lives(connection, uuid):
        for revision in set(revisions).difference(found):
            check()
            entry = _maker_in(connection, uuid, life, revision)
            if entry is not None:
                found[revision] = entry
        if len(found) == len(set(revisions)):
            break
    return found


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
    end = _END
    begins = connection.scalars(_BEGINNINGS, {"uuid": uuid}).all()
    for begin in (*begins, 0):  # 0: the beginning of a life may have been pruned
        last = _newest_below(connection, uuid, end)
        reached = connection.scalar(_REACHED, {"uuid": uuid, "seq": last})
        yield _Life(begin, end, last, reached or (_END if begin else 0))
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


def _newest_below(connection: sa.Connection, uuid: str, seq: int) -> int:
    """Return the seq of a domain's newest entry below `seq`; 0 if there is none."""
    asked = {"uuid": uuid, "seq": seq}
    prior = connection.scalar(_PRIOR, asked)
    if prior is not None:
        return int(prior)
    above = connection.scalar(_MILESTONE_FROM, asked) or connection.scalar(_NEWEST, asked) or 0
    if above < seq:
        return int(above)
    return connection.scalar(_BELOW, {"seq": above, "below": seq}) or 0


def _walk(goes_on: sa.ColumnElement[bool], most: sa.ColumnElement[int]) -> sa.CTE:
    """Return the entries reached from entry :seq while `goes_on` holds, `most` of them."""
    chain = sa.select(_SEQ.label("seq"), sa.literal(1).label("depth")).cte("chain", recursive=True)
    return chain.union_all(
        sa.select(HISTORY.c.prior, chain.c.depth + 1)
        .join(chain, HISTORY.c.seq == chain.c.seq)
        .where(HISTORY.c.prior > 0, HISTORY.c.prior < HISTORY.c.seq, goes_on, chain.c.depth < most)
    )


def _entries() -> sa.Select[Any]:
    """Select whole entries, one after the other: what is sorted before are their numbers alone."""
    chain = _walk(sa.true(), sa.bindparam("most"))
    found = sa.select(HISTORY).where(HISTORY.c.seq.in_(sa.select(chain.c.seq)))
    return found.order_by(HISTORY.c.seq.desc())


def _below() -> sa.Select[Any]:
    chain = _walk(HISTORY.c.prior >= sa.bindparam("below"), sa.literal(MOST_STEPS))
    reached = sa.select(HISTORY.c.prior).join(chain, HISTORY.c.seq == chain.c.seq)
    return reached.where(HISTORY.c.prior < sa.bindparam("below"))


def _maker() -> sa.Select[Any]:
    """Select the entry that made :revision, walking from :seq no farther than to an older one."""
    is_older = sa.and_(HISTORY.c.state.is_not(None), HISTORY.c.revision <= _REVISION)
    chain = _walk(sa.not_(is_older), sa.literal(MOST_STEPS))
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
    chain = _walk(HISTORY.c.revision == 0, sa.literal(MOST_STEPS))
    last = sa.select(sa.func.max(HISTORY.c.revision)).join(chain, HISTORY.c.seq == chain.c.seq)
    return sa.select(sa.func.coalesce(stands, last.scalar_subquery()))


_ENTRIES = _entries()
_BELOW = _below()
_MAKER = _maker()
_MILESTONE_OF_REVISION = _milestone_of_revision()
_NEWEST = sa.union_all(
    sa.select(RECORD.c.newest).where(RECORD.c.uuid == _UUID),
    sa.select(FORMER.c.newest).where(FORMER.c.uuid == _UUID),
)
_PRIOR = sa.select(HISTORY.c.prior).where(HISTORY.c.seq == _SEQ, HISTORY.c.uuid == _UUID)
_IS_THERE = sa.select(HISTORY.c.seq).where(HISTORY.c.seq == _SEQ)
_REACHED = _reached()
_MILESTONE_FROM = sa.select(sa.func.min(HISTORY.c.seq)).where(
    HISTORY.c.uuid == _UUID, MILESTONE, HISTORY.c.seq >= _SEQ
)
_BEGINNINGS = (
    sa.select(HISTORY.c.seq)
    .where(HISTORY.c.uuid == _UUID, BEGINNING)
    .order_by(HISTORY.c.seq.desc())
    .limit(MOST_LIVES)
)
