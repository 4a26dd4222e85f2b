"""Check the whole chain in strides, in memory that does not grow with it."""

from collections import OrderedDict

import sqlalchemy as sa

from maxmemd.errors import LedgerCorrupt
from maxmemd.ledger.anchor import START, Anchor, check_rows, read_anchor
from maxmemd.ledger.integrity import check_entries, check_prior
from maxmemd.ledger.schema import FORMER, HISTORY, KEPT, RECORD

MOST_KNOWN = 4096
"""Domains whose newest entry is remembered, so that the first wrong link can be named."""

_ENTRIES = (
    sa.select(HISTORY)
    .where(HISTORY.c.seq > sa.bindparam("after"))
    .order_by(HISTORY.c.seq)
    .limit(sa.bindparam("most"))
)
_KEPT = (
    sa.select(HISTORY)
    .join(KEPT, KEPT.c.seq == HISTORY.c.seq)
    .where(KEPT.c.seq > sa.bindparam("after"), HISTORY.c.uuid == KEPT.c.uuid)
    .order_by(KEPT.c.seq)
    .limit(sa.bindparam("most"))
)
_NEWEST = sa.union_all(
    sa.select(RECORD.c.uuid, RECORD.c.newest).where(RECORD.c.newest > sa.bindparam("after")),
    sa.select(FORMER.c.uuid, FORMER.c.newest).where(FORMER.c.newest > sa.bindparam("after")),
)
_COUNTS = sa.select(
    sa.select(sa.func.count()).select_from(KEPT).scalar_subquery(),
    sa.select(sa.func.count()).where(HISTORY.c.seq <= sa.bindparam("after")).scalar_subquery(),
)


class ChainCheck:
    """One check of all entries; `seen` is the last that was looked at.

    `begun` counts how often it began again.
    """

    def __init__(self) -> None:
        self.seen = 0
        self._anchor: Anchor = START
        self._before: bytes | None = None
        self._kept_after = 0
        self._newest: OrderedDict[str, int] = OrderedDict()
        self._links = 0
        self.begun = 0

    def stride(self, connection: sa.Connection, most: int) -> bool:
        """Check some entries more, in a transaction; return whether all are checked.

        Raises LedgerCorrupt. Where entries were pruned since the last call it begins again.
        """
        anchor = read_anchor(connection)
        if anchor != self._anchor:
            begun = self.begun
            self.__init__()  # type: ignore[misc]
            self.begun = begun + 1
            self._anchor, self.seen, self._before = anchor, anchor.seq, anchor.hash
        if self._kept_after < anchor.seq:
            self._check_kept(connection, most)
            return False
        asked = {"after": self.seen, "most": most}
        rows = connection.execute(_ENTRIES, asked).all()
        check_entries(rows, self._before, after=self.seen)
        for row in rows:
            self._follow(row)
        if rows:
            self.seen, self._before = rows[-1].seq, rows[-1].hash
            return False
        self._check_links(connection)
        return True

    def _check_kept(self, connection: sa.Connection, most: int) -> None:
        """Check some of the old entries that are kept, and in the end that none is missing."""
        after = {"after": self._anchor.seq}
        rows = connection.execute(_KEPT, {"after": self._kept_after, "most": most}).all()
        check_rows(connection, rows)
        self._kept_after = rows[-1].seq if rows else self._anchor.seq
        if not rows:
            kept, there = connection.execute(_COUNTS, after).one()
            if not kept == there == self._anchor.seq - self._anchor.entries:
                raise LedgerCorrupt(
                    "cannot trust the ledger: an entry that was kept when older ones were pruned"
                    " is missing (see docs/recovery.md)"
                )

    def _follow(self, row: sa.Row[tuple[object, ...]]) -> None:
        """Check that an entry names its domain's entry before it, as far as that is remembered."""
        known = self._newest.pop(row.uuid, None)
        if known is not None:
            check_prior(row, known)
        self._newest[row.uuid] = row.seq
        if len(self._newest) > MOST_KNOWN:
            self._newest.popitem(last=False)
        self._links += _mark(row.uuid, row.seq)
        if row.prior > self._anchor.seq:
            self._links -= _mark(row.uuid, row.prior)
        if not 0 <= row.prior < row.seq:
            raise LedgerCorrupt(f"cannot trust the ledger: entry {row.seq} names {row.prior}")

    def _check_links(self, connection: sa.Connection) -> None:
        """Check all links at once.

        Each entry is named by exactly one other of its domain or, the newest, by the domain's row.
        So the sums of their marks are equal; where a link is wrong they are not.
        """
        newest = connection.execute(_NEWEST, {"after": self._anchor.seq})
        if self._links != sum(_mark(uuid, seq) for uuid, seq in newest):
            raise LedgerCorrupt(
                "cannot trust the ledger: an entry does not name its domain's entry before it"
                " (see docs/recovery.md)"
            )


def _mark(uuid: str, seq: int) -> int:
    """Return a number that stands for an entry: two have the same once in 2^60."""
    return hash((uuid, seq))
