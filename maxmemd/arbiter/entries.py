"""Entries of the history as the arbiter writes them."""

from collections.abc import Mapping
from functools import lru_cache
from sys import intern

from maxmemd.policy.codec import from_text, record_to_text, to_text
from maxmemd.policy.components import Record
from maxmemd.policy.entries import Entry
from maxmemd.policy.kinds import EntryKind

DAEMON = to_text({"name": "maxmemd"})
"""The actor of what the daemon does by itself."""


def entry_of(
    record: Record, kind: EntryKind, actor: str, wish: str, key: str | None = None
) -> Entry:
    """Return the entry that makes this record's revision; `actor` and `wish` are JSON text."""
    return Entry(record.uuid, record.revision, kind, actor, wish, record_to_text(record), key)


def note_of(record: Record, kind: EntryKind, words: Mapping[str, object]) -> Entry:
    """Return an entry of the daemon's own that leaves a record as it is."""
    return Entry(record.uuid, record.revision, kind, DAEMON, to_text(words), None)


def own_entry_of(record: Record, kind: EntryKind, facts: Mapping[str, object]) -> Entry:
    """Return the same for what the daemon decides by itself, with what it saw."""
    return entry_of(record, kind, DAEMON, to_text(facts))


@lru_cache(maxsize=256)
def client_of(actor: str) -> str:
    """Return the client whom an actor's JSON text names, without the process."""
    words = from_text(actor)
    name, uid = words.get("name"), words.get("uid")
    return intern(f"{name}" if uid is None else f"{name} (uid {uid})")
