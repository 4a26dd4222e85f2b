"""The ledger: journal, records, instances and pushes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "journal",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.Column("uuid", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("wish", sa.Text, nullable=False),
        sa.Column("state", sa.Text),
        sa.Column("key", sa.Text),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.create_index("journal_by_uuid", "journal", ["uuid", "seq"])
    op.create_index(
        "journal_by_key", "journal", ["key"], unique=True, sqlite_where=sa.text("key IS NOT NULL")
    )
    op.create_table(
        "record",
        sa.Column("uuid", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, sa.ForeignKey("journal.seq"), nullable=False),
    )
    op.create_table(
        "instance",
        sa.Column("uuid", sa.Text, primary_key=True),
        sa.Column("incarnation", sa.Integer, primary_key=True),
        sa.Column("domid", sa.Integer, nullable=False),
        sa.Column("boot", sa.Text, nullable=False),
        sa.Column("began_ns", sa.BigInteger, nullable=False),
        sa.Column("ended_ns", sa.BigInteger),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("settled_revision", sa.BigInteger, nullable=False),
        sa.Column("effects", sa.Text),
    )
    op.create_table(
        "push",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.Column("uuid", sa.Text, nullable=False),
        sa.Column("domid", sa.Integer, nullable=False),
        sa.Column("incarnation", sa.Integer, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("max_pages", sa.BigInteger, nullable=False),
        sa.Column("seen_pages", sa.BigInteger),
        sa.Column("errno", sa.Integer),
    )


def downgrade() -> None:
    for table in ("push", "instance", "record", "journal"):
        op.drop_table(table)
