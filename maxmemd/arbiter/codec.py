"""Entries and rows as the ledger keeps them: from the values in memory to its text, and back."""

import json

from pydantic_core import to_json

from maxmemd.arbiter.instances import Instance
from maxmemd.policy.components import Record, state_to_json
from maxmemd.policy.entries import BORN, Birth, Entry, InstanceRow
from maxmemd.policy.kinds import EntryKind
from maxmemd.policy.states import BuildPhase
from maxmemd.policy.verdicts import NO_EFFECTS, Effects, effects_from_json, effects_to_json


def to_json_text(value: object) -> str:
    """Return JSON text as the ledger keeps it."""
    return to_json(value).decode()


DAEMON = to_json_text({"name": "maxmemd"})
"""The actor of what nobody asked for."""


def entry_of(
    record: Record, kind: EntryKind, actor: str, wish: str, key: str | None = None
) -> Entry:
    """Return the entry that makes this record's revision; `actor` and `wish` are JSON text."""
    state = to_json_text(state_to_json(record))
    return Entry(record.uuid, record.revision, kind, actor, wish, state, key)


def row_of(
    instance: Instance,
    *,
    effects: Effects | None = None,
    birth: Birth | None = None,
    ended_ns: int | None = None,
) -> InstanceRow:
    """Return what the ledger keeps of an instance; what is given, instead of its own."""
    open_effects = instance.effects if effects is None else effects
    words = {} if open_effects is NO_EFFECTS else effects_to_json(open_effects)
    born = instance.birth if birth is None else birth
    return InstanceRow(
        instance.uuid,
        instance.domid,
        instance.incarnation,
        instance.boot,
        instance.began_ns,
        ended_ns,
        instance.state,
        instance.settled_revision,
        to_json_text(words) if words else None,
        _build_text(born),
        instance.noted_pages,
    )


def effects_of(row: InstanceRow) -> Effects:
    """Return what is still to be written for an instance."""
    return NO_EFFECTS if row.effects is None else effects_from_json(json.loads(row.effects))


def birth_of(row: InstanceRow) -> Birth:
    """Return what is known of how an instance came to be."""
    if row.build is None:
        return BORN
    build = json.loads(row.build)
    phase = BuildPhase(build["phase"])
    return Birth(
        tracking=phase is BuildPhase.FOLLOWING,
        unsure=phase in (BuildPhase.FOLLOWING, BuildPhase.UNDECIDED),
        announced=phase is BuildPhase.ANNOUNCED,
        theirs_pages=build["toolstack_pages"],
        ours_pages=build["pushed_pages"],
    )


def _build_text(birth: Birth) -> str | None:
    if birth == BORN:
        return None
    phase = BuildPhase.SETTLED
    if birth.announced:
        phase = BuildPhase.ANNOUNCED
    elif birth.unsure:
        phase = BuildPhase.FOLLOWING if birth.tracking else BuildPhase.UNDECIDED
    pages = {"toolstack_pages": birth.theirs_pages, "pushed_pages": birth.ours_pages}
    return to_json_text({"phase": phase, **pages})
