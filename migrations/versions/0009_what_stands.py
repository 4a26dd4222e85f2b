"""What stands is apart from what once was, so that a start reads only the former.

The table `record` has the records that stand, `instance` the instances that have not ended. Of any
other UUID the table `former` has the newest entry and the last incarnation, for its return.

Old entries are pruned: `pruned` has from where the chain can be proved, `kept` which older entries
are there all the same. Of a ledger of which something was pruned there is no way back.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "former",
        sa.Column("uuid", sa.Text, primary_key=True),
        sa.Column("newest", sa.BigInteger, nullable=False),
        sa.Column("incarnation", sa.Integer, nullable=False),
    )
    op.add_column(
        "record", sa.Column("incarnation", sa.Integer, nullable=False, server_default="0")
    )
    last = "SELECT uuid, max(incarnation) AS last FROM instance GROUP BY uuid"
    op.execute(
        f"UPDATE record SET incarnation = lives.last FROM ({last}) AS lives"  # noqa: S608
        " WHERE lives.uuid = record.uuid"
    )
    op.execute("INSERT INTO former SELECT uuid, newest, incarnation FROM record WHERE head IS NULL")
    op.execute(
        f"INSERT INTO former SELECT uuid, 0, last FROM ({last}) AS lives"  # noqa: S608
        " WHERE uuid NOT IN (SELECT uuid FROM record)"
    )
    op.execute("DELETE FROM record WHERE head IS NULL")
    op.execute("DELETE FROM instance WHERE ended_ns IS NOT NULL")
    op.create_table(
        "pruned",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
    )
    op.create_table(
        "kept",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("uuid", sa.Text, nullable=False),
        sa.Column("slot", sa.BigInteger, nullable=False),
        sa.Column("before", sa.LargeBinary, nullable=False),
    )
    op.create_index("kept_by_slot", "kept", ["uuid", "slot"], unique=True)


def downgrade() -> None:
    if op.get_bind().exec_driver_sql("SELECT 1 FROM pruned").first() is not None:
        raise ValueError("cannot go back: older entries were pruned (restore an earlier copy)")
    op.drop_table("kept")
    op.drop_table("pruned")
    # An instance of before is known by its last incarnation only: the row says that it ended.
    op.execute(
        "INSERT INTO instance"
        " (uuid, incarnation, domid, boot, began_ns, ended_ns, push_state, settled_revision)"
        " SELECT uuid, incarnation, 0, '', 0, 0, 'gone', 0 FROM"
        " (SELECT uuid, incarnation FROM former UNION ALL SELECT uuid, incarnation FROM record)"
        " WHERE incarnation > 0 AND (uuid, incarnation) NOT IN"
        " (SELECT uuid, incarnation FROM instance)"
    )
    op.execute("INSERT INTO record (uuid, newest) SELECT uuid, newest FROM former WHERE newest > 0")
    op.drop_column("record", "incarnation")
    op.drop_table("former")
