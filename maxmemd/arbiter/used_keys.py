"""Idempotency keys: which wish each one stands for, and the entry of one that changed nothing.

A key is used up by the answer that grants its wish, also where that changes nothing: asked again
later, the wish could change what others have decided since. A refusal leaves its key free.
"""

from collections.abc import Mapping

from maxmemd.policy.codec import to_text
from maxmemd.policy.entries import Entry
from maxmemd.policy.kinds import EntryKind


def unchanged_entry(  # noqa: PLR0917 - the columns of an entry
    uuid: str, revision: int, kind: EntryKind, actor: str, words: Mapping[str, object], key: str
) -> Entry:
    """Return the entry of a wish that was granted and changed nothing."""
    text = _unchanged_text(kind, words)
    return Entry(uuid, revision, EntryKind.UNCHANGED, actor, text, None, key)


def stands_for(
    entry: Entry, uuid: str | None, kind: EntryKind, words: Mapping[str, object]
) -> bool:
    """Return whether the key of an entry was used for this wish about this domain.

    `uuid` is what the client's reference means now; one that means nothing is not the same domain.
    """
    if uuid != entry.uuid:
        return False
    if entry.kind == EntryKind.UNCHANGED:
        return entry.wish == _unchanged_text(kind, words)
    return (entry.kind, entry.wish) == (kind, to_text(words))


def _unchanged_text(kind: EntryKind, words: Mapping[str, object]) -> str:
    return to_text({"wish": kind, **words})
