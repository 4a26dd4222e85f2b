"""What becomes of drift can be set for one domain, and a fight is remembered across a restart."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "drift_mode",
        sa.Column("uuid", sa.Text, primary_key=True),
        sa.Column("mode", sa.Text, nullable=False),
    )
    op.add_column("instance", sa.Column("fight_ns", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("instance", "fight_ns")
    op.drop_table("drift_mode")
