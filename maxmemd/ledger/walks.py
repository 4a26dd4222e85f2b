"""Find the entries, or the pushes, of one domain: each names its domain's one before it.

A walk begins at the domain's newest row, or at a *milestone*: one row in 64 is in an index by
domain. So wherever it has to go a walk takes about 64 steps, and never more than MOST_STEPS. An
index of all rows would do as well, but every commit would write a page of it for each domain.
"""

from typing import Any

import sqlalchemy as sa

from maxmemd.ledger.schema import (
    FORMER,
    HISTORY,
    LAST_PUSH,
    MILESTONE,
    PUSH,
    PUSH_MILESTONE,
    RECORD,
)

MOST_STEPS = 2048
"""Steps of one walk. Which entry is a milestone is by chance: of 10^13 walks one needs as many."""
NO_END = 2**63 - 1
"""Above the number of any row."""

_UUID = sa.bindparam("uuid", type_=sa.Text)
_NUMBER = sa.bindparam("seq", type_=sa.BigInteger)
_BELOW = sa.bindparam("below", type_=sa.BigInteger)


class DomainRows:
    """One of the tables; `key` is the column that numbers its rows."""

    def __init__(
        self,
        key: sa.Column[Any],
        milestone: sa.TextClause,
        newest: sa.Select[Any] | sa.CompoundSelect[Any],
    ) -> None:
        self.key, self._table = key, key.table
        self._prior: sa.ColumnElement[int] = self._table.c.prior
        is_domain = self._table.c.uuid == _UUID
        self._newest = newest
        self._prior_of = sa.select(self._prior).where(key == _NUMBER, is_domain)
        self._one = sa.select(key).where(key == _NUMBER)
        self._milestone_from = sa.select(sa.func.min(key)).where(
            is_domain, milestone, key >= _NUMBER
        )
        chain = self.walk(self._prior >= _BELOW, sa.literal(MOST_STEPS))
        reached = sa.select(self._prior).join(chain, key == chain.c.seq)
        self._first_below = reached.where(self._prior < _BELOW)
        # What is sorted are numbers alone: whole rows are read one after the other.
        chain = self.walk(sa.true(), sa.bindparam("most"))
        found = sa.select(self._table).where(key.in_(sa.select(chain.c.seq)))
        self._rows = found.order_by(key.desc())

    def rows(
        self, connection: sa.Connection, uuid: str, count: int, before: int | None
    ) -> sa.Result[Any]:
        """Return `count` rows of a domain, newest first, those below row `before`."""
        start = self.newest_below(connection, uuid, NO_END if before is None else before)
        return connection.execute(self._rows, {"seq": start, "most": count})

    def newest_below(self, connection: sa.Connection, uuid: str, number: int) -> int:
        """Return the number of a domain's newest row below `number`; 0 if there is none."""
        asked = {"uuid": uuid, "seq": number}
        prior = connection.scalar(self._prior_of, asked)
        if prior is not None:
            return int(prior)
        above = connection.scalar(self._milestone_from, asked)
        above = above or connection.scalar(self._newest, asked) or 0
        if above < number:
            return int(above)
        return connection.scalar(self._first_below, {"seq": above, "below": number}) or 0

    def is_there(self, connection: sa.Connection, number: int) -> bool:
        """Whether a row exists: there is none of number 0, and old ones may have been pruned."""
        return connection.scalar(self._one, {"seq": number}) is not None

    def walk(self, goes_on: sa.ColumnElement[bool], most: sa.ColumnElement[int]) -> sa.CTE:
        """Return the rows reached from row :seq while `goes_on` holds, `most` of them."""
        start = sa.select(_NUMBER.label("seq"), sa.literal(1).label("depth"))
        chain = start.cte("chain", recursive=True)
        return chain.union_all(
            sa.select(self._prior, chain.c.depth + 1)
            .join(chain, self.key == chain.c.seq)
            .where(self._prior > 0, self._prior < self.key, goes_on, chain.c.depth < most)
        )


ENTRIES = DomainRows(
    HISTORY.c.seq,
    MILESTONE,
    sa.union_all(
        sa.select(RECORD.c.newest).where(RECORD.c.uuid == _UUID),
        sa.select(FORMER.c.newest).where(FORMER.c.uuid == _UUID),
    ),
)
PUSHES = DomainRows(
    PUSH.c.id, PUSH_MILESTONE, sa.select(LAST_PUSH.c.id).where(LAST_PUSH.c.uuid == _UUID)
)
