"""Entries and pushes of one domain are found by an index, or a short walk from a row in it.

An index of all entries by domain would cost a page for each domain of a commit, which is why 0002
dropped it, and a quarter of the ledger's size. One in 64 is enough, since each entry names the one
before it: a *milestone* is an entry whose hash begins with a byte below 4. A hash is as good as
chance, and no client can choose it, so the entries of every domain have milestones at that
distance, those of before as well: no entry is changed. Pushes now name the one before too, and are
counted; the table `last_push` has each domain's newest.

What it costs: history and push are read once, and push is sorted and written once, in the
transaction of the migration. On a ledger of ten million entries and as many pushes (about 7 GB)
that is minutes on a disk of 100 MB/s. The file grows by about 20 MB for the indices and 100 MB for
the pushes; for a moment SQLite needs the size of push, about 1.5 GB, in the WAL and 0.5 GB in its
temporary files.
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
    ("history_ends", "history", ["uuid"], "kind = 'instance-ended'"),
    ("push_milestones", "push", ["uuid"], "number % 64 = 0"),
)
_NUMBERS = (
    "UPDATE push SET prior = places.prior, number = places.number FROM"
    " (SELECT id, lag(id, 1, 0) OVER own AS prior, row_number() OVER own AS number"
    " FROM push WINDOW own AS (PARTITION BY uuid ORDER BY id)) AS places"
    " WHERE places.id = push.id"
)


def upgrade() -> None:
    for name in ("prior", "number"):
        op.add_column("push", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.execute(_NUMBERS)
    op.create_table(
        "last_push",
        sa.Column("uuid", sa.Text, primary_key=True),
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO last_push SELECT uuid, max(id), count(*) FROM push GROUP BY uuid")
    for name, table, columns, where in _INDICES:
        op.create_index(name, table, columns, sqlite_where=sa.text(where))


def downgrade() -> None:
    for name, table, _, _ in _INDICES:
        op.drop_index(name, table)
    op.drop_table("last_push")
    for name in ("number", "prior"):
        op.drop_column("push", name)
