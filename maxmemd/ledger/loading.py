"""What a start reads of the ledger: what stands, and the newest entries, all of it checked."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import sqlalchemy as sa

from maxmemd.errors import LedgerCorrupt
from maxmemd.ledger.anchor import Anchor, check_rows, read_anchor
from maxmemd.ledger.heads import Head
from maxmemd.ledger.integrity import check_entries, check_newest, check_schema, unsealed_text
from maxmemd.ledger.rows import as_drift_mode, as_instance, as_standing_record
from maxmemd.ledger.schema import DRIFT_MODE, GENESIS, HISTORY, INSTANCE, PUSH, RECORD
from maxmemd.ledger.statements import (
    DRIFT_MODES,
    ENDED,
    LAGGING_HEADS,
    NAMES,
    SCHEMA_NAMES,
    STANDING,
)
from maxmemd.policy.codec import build_from_text, ending_from_json, from_text
from maxmemd.policy.endings import UNSEEN, Ending
from maxmemd.policy.entries import Snapshot
from maxmemd.policy.retention import LEAST_KEPT


class Loaded(NamedTuple):
    """The current state, and what the writer goes on from.

    `newest` is the number and the hash of the newest entry, `standing` the heads of the domains
    that have a record.
    """

    snapshot: Snapshot
    newest: tuple[int, bytes]
    standing: dict[str, Head]


def load(connection: sa.Connection, high_water: tuple[int, bytes] | None) -> Loaded:
    """Read the current state in a transaction; `high_water` is the newest entry known elsewhere.

    Raises LedgerCorrupt where an entry that it follows from, or one of the newest, is missing or
    not as it was written, or where a table does not follow from the history.
    """
    anchor = read_anchor(connection)
    newest = _newest(connection, anchor)
    heads = connection.execute(
        sa.select(HISTORY, RECORD.c.observed).join(
            RECORD, (RECORD.c.head == HISTORY.c.seq) & (RECORD.c.uuid == HISTORY.c.uuid)
        )
    ).all()
    stands = connection.execute(STANDING).all()
    check_rows(connection, heads)
    _check_tables(connection, anchor, high_water)
    check_entries(list(reversed(newest)))
    if len(heads) != len(stands):
        raise LedgerCorrupt("cannot trust the ledger: the entry of a record is missing")
    standing = {row.uuid: Head(*row[1:]) for row in stands}
    check_newest(newest, {uuid: head.newest for uuid, head in standing.items()})
    last = (newest[0].seq, newest[0].hash) if newest else (0, GENESIS)
    snapshot = _snapshot(connection, heads, standing, last[0])
    snapshot = replace(snapshot, newest_ns=newest[0].at_ns if newest else 0)
    return Loaded(snapshot, last, standing)


def _newest(connection: sa.Connection, anchor: Anchor) -> Sequence[sa.Row[Any]]:
    newest = sa.select(HISTORY).where(HISTORY.c.seq > anchor.seq).order_by(HISTORY.c.seq.desc())
    return connection.execute(newest.limit(LEAST_KEPT)).all()


def _snapshot(
    connection: sa.Connection,
    heads: Sequence[sa.Row[Any]],
    standing: Mapping[str, Head],
    last: int,
) -> Snapshot:
    # All rows first: a statement that is left open by a damaged one would hold the checkpoint back.
    records = tuple(as_standing_record(head) for head in heads)
    lives = tuple(as_instance(row) for row in connection.execute(sa.select(INSTANCE)).all())
    settled = {life.uuid for life in lives if build_from_text(life.build).has_settled}
    ended = connection.execute(ENDED).all()
    check_rows(connection, ended)
    ended = [row for row in ended if row.uuid not in settled]
    # Records with something decided that wait for an instance, or for theirs to be settled.
    settled |= {record.uuid for record in records if not record.decided}
    awaiting = {
        uuid: head.head
        for uuid, head in standing.items()
        if uuid not in settled and head.head is not None
    }
    pushes = connection.scalar(sa.select(sa.func.max(PUSH.c.id))) or 0
    return Snapshot(
        records,
        lives,
        endings_of(ended, awaiting),
        (last, pushes),
        {row.uuid: as_drift_mode(row) for row in connection.execute(DRIFT_MODES).all()},
        {
            uuid: unsealed_text(name, f"the name of {uuid}")
            for uuid, name in connection.execute(NAMES).all()
        },
        {head.uuid: head.actor for head in heads},
    )


def _check_tables(
    connection: sa.Connection, anchor: Anchor, high_water: tuple[int, bytes] | None
) -> None:
    """Check the tables that follow from the history, and that no newest entry is missing."""
    check_schema(connection.scalars(SCHEMA_NAMES).all())
    if high_water is not None and high_water[0] > anchor.seq:
        seq, newest_hash = high_water
        found = connection.scalar(sa.select(HISTORY.c.hash).where(HISTORY.c.seq == seq))
        if found != newest_hash:
            raise LedgerCorrupt(
                f"cannot trust the ledger: entry {seq} was written but is missing"
                " (see docs/recovery.md)"
            )
    behind = connection.scalar(LAGGING_HEADS, {"anchor": anchor.seq})
    if behind is not None:
        raise LedgerCorrupt(f"cannot trust the ledger: the record of {behind} is not the last")
    for table in (RECORD, INSTANCE, DRIFT_MODE):
        found = connection.exec_driver_sql(f"PRAGMA integrity_check({table.name})").scalar()
        if found != "ok":
            raise LedgerCorrupt(f"cannot trust the ledger: table {table.name}: {found}")


def endings_of(ended: Sequence[sa.Row[Any]], heads: Mapping[str, int]) -> dict[str, Ending]:
    """Return how each UUID's last instance ended, where a reason was seen.

    A record whose entry in `heads` is newer than the end was decided on for the next start. An end
    from before the record began says no more than that.
    """
    endings = {}
    for row in ended:
        ending = ending_from_json(from_text(row.wish)) if row.seq > row.first_seq else None
        if heads.get(row.uuid, 0) > row.seq:
            ending = (ending or UNSEEN)._replace(decided_ahead=True)
        if ending is not None:
            endings[row.uuid] = ending
    return endings
