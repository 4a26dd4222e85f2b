"""What is known of a build that is under way outlives the daemon.

A daemon that was away while a domain came to run took its toolstack's last writes for drift.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("instance", sa.Column("birth", sa.Text))


def downgrade() -> None:
    op.drop_column("instance", "birth")
