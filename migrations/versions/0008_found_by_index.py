"""Entries and pushes of one domain are found by an index.

An index of all entries by domain would cost a page for each domain of a commit, which is why 0002
dropped it, and a quarter of the ledger's size. One entry in 64 is enough, since each names the one
before it: a *milestone* is an entry whose hash begins with a byte below 4. A hash is as good as
chance, and no client can choose it, so the entries of every domain have milestones at that
distance, those of before as well: no row is changed.

What it costs: history and push are read once, in the transaction of the migration, and the pushes
are sorted by domain. On a ledger of ten million entries and as many pushes (about 7 GB) that is
minutes on a disk that reads 100 MB/s; the file grows by about 10 MB for the entries and 500 MB for
the pushes, and SQLite needs as much again for a moment, in the WAL and in its temporary files.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_MILESTONE = "hash < x'04'"
_INDICES = (
    ("history_milestones", "history", ["uuid"], _MILESTONE),
    ("history_milestone_revisions", "history", ["uuid", "revision"], _MILESTONE),
    ("history_beginnings", "history", ["uuid"], "revision = 1 AND state IS NOT NULL"),
    ("push_by_uuid", "push", ["uuid"], None),
)


def upgrade() -> None:
    for name, table, columns, where in _INDICES:
        op.create_index(
            name, table, columns, sqlite_where=None if where is None else sa.text(where)
        )


def downgrade() -> None:
    for name, table, _, _ in _INDICES:
        op.drop_index(name, table)
