"""What the rows of the ledger's tables were written from."""

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from maxmemd.errors import LedgerCorrupt
from maxmemd.ledger.integrity import unsealed, unsealed_text
from maxmemd.policy.codec import drift_mode_from_text, from_text, record_from_text
from maxmemd.policy.components import Record
from maxmemd.policy.drift import SetMode
from maxmemd.policy.entries import Entry, InstanceRow
from maxmemd.policy.states import PushState


def as_entry(row: sa.Row[Any]) -> Entry:
    """Return the entry that a row of the history was written from."""
    return Entry(row.uuid, row.revision, row.kind, row.actor, row.wish, row.state, row.key)


def as_instance(row: sa.Row[Any]) -> InstanceRow:
    """Return the instance that a row was written from. Raises LedgerCorrupt."""
    try:
        kept = InstanceRow(**row._asdict())
        return unsealed(kept._replace(push_state=PushState(row.push_state)))
    except ValueError as error:
        raise LedgerCorrupt(f"cannot read an instance of {row.uuid}: {error}") from error


def as_standing_record(row: sa.Row[Any]) -> Record:
    """Return the record in its newest entry, with what that may not say. Raises LedgerCorrupt."""
    record, text = as_record(row), None
    if row.observed is not None:
        text = unsealed_text(row.observed, f"what was observed of {row.uuid}")
    if text is None or "observed" in from_text(row.state):
        return record
    return replace(record, observed=frozenset((owner, name) for owner, name in from_text(text)))


def as_drift_mode(row: sa.Row[Any]) -> SetMode:
    """Return the mode that a row was written from. Raises LedgerCorrupt."""
    whose = f"the mode of drift of {row.uuid}"
    try:
        return drift_mode_from_text(unsealed_text(row.mode, whose))
    except (ValueError, TypeError) as error:
        raise LedgerCorrupt(f"cannot read {whose}: {error}") from error


def as_record(row: sa.Row[Any]) -> Record:
    """Return the record in a row of the history. Raises LedgerCorrupt."""
    try:
        return record_from_text(row.uuid, row.revision, row.state)
    except (ValueError, TypeError, KeyError) as error:
        raise LedgerCorrupt(f"cannot read entry {row.seq} of the history: {error}") from error
