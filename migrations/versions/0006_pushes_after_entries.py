"""A push knows the entry that it came after: times do not tell, for entries wait for a commit.

Of a push from before it is not known, and its time has to do.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("push", sa.Column("after_seq", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("push", "after_seq")
