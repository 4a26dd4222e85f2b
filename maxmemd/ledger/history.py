"""Queries that walk the entries of one domain, newest first: each entry names its predecessor.

An index by domain would do as well, but every decision would then write one of its pages, which is
most of the cost of a commit.
"""

from typing import Any

import sqlalchemy as sa

from maxmemd.ledger.schema import HISTORY, RECORD


def newest(uuid: str) -> sa.ScalarSelect[Any]:
    """Return a subquery for the seq of a domain's newest entry; NULL if it has none."""
    return sa.select(RECORD.c.newest).where(RECORD.c.uuid == uuid).scalar_subquery()


def before(uuid: str, seq: int) -> sa.Select[Any]:
    """Select the seq of a domain's newest entry below `seq`; no row or 0 if there is none."""
    below = sa.select(HISTORY.c.prior).where(HISTORY.c.seq == seq, HISTORY.c.uuid == uuid)
    chain = _walk(newest(uuid), HISTORY.c.prior >= seq)
    above = sa.select(sa.func.min(HISTORY.c.prior)).join(chain, HISTORY.c.seq == chain.c.seq)
    outside = sa.case((newest(uuid) < seq, newest(uuid)), else_=above.scalar_subquery())
    return sa.select(sa.func.coalesce(below.scalar_subquery(), outside))


def entries(start: sa.ScalarSelect[Any] | int, count: int) -> sa.Select[Any]:
    """Select `count` entries from entry `start` on, newest first."""
    chain = _walk(start, sa.true(), at_most=count)
    found = sa.select(HISTORY).join(chain, HISTORY.c.seq == chain.c.seq)
    return found.order_by(HISTORY.c.seq.desc())


def revision_entries(uuid: str, least: int) -> sa.Select[Any]:
    """Select the entries that made a record's revisions, newest first, down to revision `least`.

    A forgotten record begins again at revision 1; this finds the newer entries.
    """
    goes_on = sa.not_(sa.and_(HISTORY.c.state.is_not(None), HISTORY.c.revision <= least))
    chain = _walk(newest(uuid), goes_on)
    found = sa.select(HISTORY).join(chain, HISTORY.c.seq == chain.c.seq)
    return found.where(HISTORY.c.state.is_not(None)).order_by(HISTORY.c.seq.desc())


def _walk(
    start: sa.ScalarSelect[Any] | int,
    goes_on: sa.ColumnElement[bool],
    *,
    at_most: int | None = None,
) -> sa.CTE:
    """Return the entries reached from `start` while `goes_on` holds, `at_most` of them."""
    first = sa.literal(start) if isinstance(start, int) else start
    chain = sa.select(first.label("seq"), sa.literal(1).label("depth")).cte("chain", recursive=True)
    step = (
        sa.select(HISTORY.c.prior, chain.c.depth + 1)
        .join(chain, HISTORY.c.seq == chain.c.seq)
        .where(HISTORY.c.prior > 0, HISTORY.c.prior < HISTORY.c.seq, goes_on)
    )
    if at_most is not None:
        step = step.where(chain.c.depth < at_most)
    return chain.union_all(step)
