"""The two answers to a wish, and what a granted one does to the world."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from maxmemd.policy.components import Record
from maxmemd.policy.facts import StoreFacts
from maxmemd.units import Memory


@dataclass(frozen=True, slots=True)
class Effects:
    """What must be written for one instance besides max_pages; None leaves a thing alone.

    `pod_target` is only set for HVM and PVH guests. `target` is memory/target, video RAM
    excluded.
    """

    pod_target: Memory | None = None
    static_max: Memory | None = None
    target: Memory | None = None

    def then(self, later: "Effects") -> "Effects":
        """Return both in one: where both write a thing, the later one's value stands."""
        if self is NO_EFFECTS or later is NO_EFFECTS:
            return self if later is NO_EFFECTS else later
        return Effects(
            later.pod_target or self.pod_target,
            later.static_max or self.static_max,
            later.target or self.target,
        )

    def on(self, store: StoreFacts) -> StoreFacts:
        """Return what xenstore will say once these are written."""
        if self is NO_EFFECTS:
            return store
        target, static_max = self.target or store.target, self.static_max or store.static_max
        return StoreFacts(store.name, target, static_max, store.videoram)


NO_EFFECTS = Effects()
"""Nothing to write; always this very value, so that it can be asked for by identity."""


class Grant(NamedTuple):
    """Yes: the record as it is from now on, and what to write."""

    record: Record
    effects: Effects = NO_EFFECTS


@dataclass(frozen=True, slots=True)
class Refusal:
    """No: a permanent code, a sentence that starts with "cannot", and the numbers."""

    code: str
    detail: str
    numbers: Mapping[str, int | str]


Verdict = Grant | Refusal


def effects_to_json(effects: Effects) -> dict[str, int]:
    """Return what is still to be written, as the ledger keeps it (KiB)."""
    named = {
        "pod_target_kib": effects.pod_target,
        "static_max_kib": effects.static_max,
        "target_kib": effects.target,
    }
    return {name: amount.kib for name, amount in named.items() if amount is not None}


def effects_from_json(words: Mapping[str, int]) -> Effects:
    """Return the effects that `effects_as_words` described."""
    if not words:
        return NO_EFFECTS
    amounts = {name.removesuffix("_kib"): Memory(kib=kib) for name, kib in words.items()}
    return Effects(**amounts)
