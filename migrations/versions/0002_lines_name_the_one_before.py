"""Each line names the line before it of its domain; the index that found it so far goes.

A commit wrote a page of that index for every decision: most of what it cost.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_PRIOR = (
    "UPDATE journal SET prior = before.prior FROM"
    " (SELECT seq, lag(seq, 1, 0) OVER (PARTITION BY uuid ORDER BY seq) AS prior FROM journal)"
    " AS before WHERE before.seq = journal.seq"
)


def upgrade() -> None:
    op.add_column("journal", sa.Column("prior", sa.BigInteger, nullable=False, server_default="0"))
    op.execute(_PRIOR)
    op.rename_table("record", "was_record")
    op.create_table(
        "record",
        sa.Column("uuid", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, sa.ForeignKey("journal.seq")),
        sa.Column("tail", sa.BigInteger, nullable=False),
    )
    op.execute(
        "INSERT INTO record SELECT journal.uuid, was_record.seq, max(journal.seq) FROM journal"
        " LEFT JOIN was_record ON was_record.uuid = journal.uuid GROUP BY journal.uuid"
    )
    op.drop_table("was_record")
    op.drop_index("journal_by_uuid", "journal")


def downgrade() -> None:
    op.create_index("journal_by_uuid", "journal", ["uuid", "seq"])
    op.rename_table("record", "was_record")
    op.create_table(
        "record",
        sa.Column("uuid", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, sa.ForeignKey("journal.seq"), nullable=False),
    )
    op.execute("INSERT INTO record SELECT uuid, seq FROM was_record WHERE seq IS NOT NULL")
    op.drop_table("was_record")
    op.drop_column("journal", "prior")
