"""A record says which of its numbers a client decided, and which maxmemd only observed.

From now on each state in the history says it. Entries of before are not changed, since the chain
covers them: for the records that stand, the column `record.observed` has what the history tells by
the kinds of its entries. It counts until the next entry with a state of its own. Where the history
does not tell, a number counts as decided.

A record keeps the last name that its domain had, so that it is found by it once it is gone: the
column `record.name`, NULL until it is seen.
"""

import json
import zlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_OBSERVED_BY = frozenset(
    {"adopted", "build-followed", "record-replaced", "build-announced", "drift"}
)
"""Kinds of entries whose numbers were seen, or announced with a build."""
_REPLACED_BY = frozenset({"mem-max", "rollback", "import"})
"""Kinds of entries by which a client decides max-mem and static-max."""

_MAX_MEM, _STATIC_MAX = ["operator", "max-mem"], ["xenstore", "static-max"]


def upgrade() -> None:
    op.add_column("record", sa.Column("observed", sa.Text))
    op.add_column("record", sa.Column("name", sa.Text))
    connection = op.get_bind()
    heads = connection.exec_driver_sql("SELECT uuid, head FROM record WHERE head IS NOT NULL").all()
    for uuid, head in heads:
        observed = _observed(connection, uuid, head)
        if not observed:
            continue
        text = json.dumps(observed, separators=(",", ":"))
        connection.exec_driver_sql(
            "UPDATE record SET observed = ? WHERE uuid = ?",
            (f"{zlib.crc32(text.encode()):08x} {text}", uuid),
        )


def downgrade() -> None:
    op.drop_column("record", "name")
    op.drop_column("record", "observed")


def _observed(connection: sa.Connection, uuid: str, head: int) -> list[list[str]]:
    """Return what no client decided since it was observed last."""
    observed: list[list[str]] = []
    is_known = {"max-mem": False, "static-max": False}
    for kind, wish in _states(connection, uuid, head):
        if all(is_known.values()):
            break
        for name in _told(kind, wish):
            if not is_known[name]:
                is_known[name] = True
                if kind in _OBSERVED_BY:
                    observed.append(_MAX_MEM if name == "max-mem" else _STATIC_MAX)
    return sorted(observed)


def _states(
    connection: sa.Connection, uuid: str, head: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield kind and wish of the entries that made a record, newest first, back to its first."""
    query = "SELECT kind, wish, revision, state, prior FROM history WHERE seq = ? AND uuid = ?"
    seq = head
    while seq > 0:
        row = connection.exec_driver_sql(query, (seq, uuid)).first()
        if row is None:
            return
        if row.state is not None:
            yield row.kind, json.loads(row.wish)
            if row.revision <= 1:
                return
        seq = row.prior if row.prior < seq else 0


def _told(kind: str, wish: dict[str, Any]) -> list[str]:
    """Return which of the two an entry of this kind tells."""
    if kind == "drift":
        return ["max-mem"]
    if kind == "build-announced":
        return _announced(wish)
    if kind == "mem-max" and wish.get("static_max") is False:
        return ["max-mem"]
    if kind in _OBSERVED_BY or kind in _REPLACED_BY:
        return ["max-mem", "static-max"]
    is_max_mem = [wish.get("owner"), wish.get("name")] == _MAX_MEM
    if (kind == "mem-set" and wish.get("enforce")) or is_max_mem:
        return ["max-mem"]
    return []


def _announced(wish: dict[str, Any]) -> list[str]:
    """Return what an announced build tells: what moves goes on with what was decided before."""
    if wish.get("life") != "created":
        return []
    return ["max-mem", "static-max"]
