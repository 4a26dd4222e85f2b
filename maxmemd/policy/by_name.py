"""Limits by name: what a new domain takes over from a halted one that had its name.

xl gives a domain without `uuid=` in its configuration a new UUID at every create, so its record
does not go on. Where the configuration of maxmemd names such domains, what a client decided does.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from maxmemd.policy.components import MAX_MEM, POPULATED, SLACK, STATIC_MAX, Key, Record
from maxmemd.policy.facts import StoreFacts
from maxmemd.units import Memory

_NOT_A_NAMES: frozenset[Key] = frozenset({SLACK, POPULATED})
"""The configuration sets the one; a device model asks for the other each time."""


def is_opted_in(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name is one of the configuration's names or fits one of its patterns."""
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def decided_amounts(record: Record) -> Mapping[Key, Memory]:
    """Return the components of a record that a client decided, and that can go on by name."""
    return {
        key: component.amount
        for key, component in record.components.items()
        if record.is_decided(key) and key not in _NOT_A_NAMES
    }


def taken_over(record: Record, halted: Record, store: StoreFacts) -> Record | None:
    """Return the next revision of a new domain's record; None where nothing is taken over.

    What a client decided of the new domain already stays. Max-mem is not below what the guest was
    built with, which it holds by now.
    """
    own = decided_amounts(record)
    amounts = {key: it for key, it in decided_amounts(halted).items() if key not in own}
    if not amounts:
        return None
    if MAX_MEM not in amounts:
        return record.with_amounts(amounts)
    decided = amounts[MAX_MEM]
    built = store.videoram if store.target is None else store.target + store.videoram
    amounts[MAX_MEM] = max(decided, built)
    if not halted.is_decided(STATIC_MAX) or halted.static_max is None:
        return record.with_amounts(amounts)
    static_max = max(halted.static_max, amounts[MAX_MEM])
    return record.with_amounts(amounts, static_max=static_max)
