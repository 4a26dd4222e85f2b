"""From where the hash chain can be proved: the anchor is what pruning leaves of a prefix.

The entries above the anchor are whole. Of those up to it only the ones are there that something
follows from; each has the hash of its pruned predecessor beside it, in the table `kept`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from maxmemd.errors import LedgerCorrupt
from maxmemd.ledger.integrity import check_entry, sealed_text, unsealed_text
from maxmemd.ledger.schema import GENESIS, HISTORY, KEPT, PRUNED
from maxmemd.policy.codec import from_text, to_text
from maxmemd.policy.retention import Retention


class Anchor(NamedTuple):
    """The last entry of the pruned prefix and its hash; GENESIS before anything was pruned.

    `entries` and `pushes` count what was pruned, `at_ns` is when that was last, and `rule` by what.
    """

    seq: int
    hash: bytes
    entries: int = 0
    pushes: int = 0
    at_ns: int = 0
    rule: Retention = Retention()

    def __str__(self) -> str:
        """Say from where the chain is proved."""
        if self.seq == 0:
            return "from its first entry on"
        return (
            f"from entry {self.seq + 1} on ({self.entries} older ones were pruned: kept are"
            f" {self.rule.days} days and at most {self.rule.entries} entries)"
        )


START = Anchor(0, GENESIS)
MOST_AT_ONCE = 500
"""Entries that are looked up by one statement."""
_ANCHOR = sa.select(PRUNED.c.seq, PRUNED.c.hash, PRUNED.c.about)
_SEQS: sa.BindParameter[Any] = sa.bindparam("seqs", expanding=True)
_HASHES = sa.select(HISTORY.c.seq, HISTORY.c.hash).where(HISTORY.c.seq.in_(_SEQS))
_KEPT_ONES = sa.select(KEPT.c.seq, KEPT.c.before).where(KEPT.c.seq.in_(_SEQS))


def read_anchor(connection: sa.Connection) -> Anchor:
    """Return the anchor. Raises LedgerCorrupt if it is not as it was written."""
    row = connection.execute(_ANCHOR).first()
    if row is None:
        return START
    words = from_text(unsealed_text(row.about, "what was pruned"))
    rule = Retention(*words.pop("rule"))
    if words.pop("hash") != row.hash.hex() or words.pop("seq") != row.seq:
        raise LedgerCorrupt("cannot trust the ledger: what was pruned is not as it was written")
    return Anchor(row.seq, row.hash, **words, rule=rule)


def anchor_row(anchor: Anchor) -> dict[str, Any]:
    """Return the row that an anchor is kept in."""
    words = {**anchor._asdict(), "hash": anchor.hash.hex()}
    return {"id": 1, "seq": anchor.seq, "hash": anchor.hash, "about": sealed_text(to_text(words))}


def check_rows(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> None:
    """Check some entries, each against the hash of the entry before it. Raises LedgerCorrupt."""
    anchor = read_anchor(connection)
    for done in range(0, len(rows), MOST_AT_ONCE):
        some = rows[done : done + MOST_AT_ONCE]
        seqs = [row.seq for row in some]
        hashes = dict(connection.execute(_HASHES, {"seqs": [seq - 1 for seq in seqs]}).all())
        kept = dict(connection.execute(_KEPT_ONES, {"seqs": seqs}).all())
        hashes = {seq + 1: found for seq, found in hashes.items()}
        hashes |= {anchor.seq + 1: anchor.hash, **kept}
        for row in some:
            check_entry(hashes.get(row.seq, GENESIS), row)
