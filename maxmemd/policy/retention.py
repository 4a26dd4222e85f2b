"""How long entries of the history are kept, and which old ones something still follows from."""

from collections.abc import Collection
from typing import NamedTuple

from maxmemd.policy.kinds import EntryKind

DAY_NS = 86400 * 10**9
KEYS_KEPT_NS = 3600 * 10**9
"""An idempotency key is kept for an hour at least: clients repeat a request for half a minute."""
LEAST_KEPT = 1000
"""So many of the newest entries are always kept: a start checks them."""
ENDED = 0
"""The slot of an end; that of a revision is its number, and revisions begin at 1."""


class Retention(NamedTuple):
    """An entry is kept for `days`, unless there are more than `entries`."""

    days: int = 400
    entries: int = 5_000_000

    def is_over(self, age: int, at_ns: int, now_ns: int, *, has_key: bool) -> bool:
        """Whether an entry need not be kept for its own sake; `age` counts the entries since.

        One from the future was written while the clock was wrong: only their number ends it.
        """
        if age < LEAST_KEPT:
            return False
        since_ns = now_ns - at_ns
        if has_key and 0 <= since_ns < KEYS_KEPT_NS:
            return False
        return age >= self.entries or since_ns > self.days * DAY_NS


def slot_of(
    kind: str, revision: int, made: Collection[int] | None, *, has_state: bool
) -> int | None:
    """Return what an old entry is still needed for, None if for nothing.

    `made` are the revisions that the record of its domain consists of: its own, and those of its
    components; None where there is no record. Of the entries in one slot of a domain the newest is
    needed: those that made these, the one that the record began with, and how the last instance
    ended.
    """
    if made is None:
        return None
    if kind == EntryKind.INSTANCE_ENDED:
        return ENDED
    return revision if has_state and (revision == 1 or revision in made) else None
