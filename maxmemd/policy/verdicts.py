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
            self.pod_target if later.pod_target is None else later.pod_target,
            self.static_max if later.static_max is None else later.static_max,
            self.target if later.target is None else later.target,
        )

    def on(self, store: StoreFacts) -> StoreFacts:
        """Return what xenstore will say once these are written."""
        if self is NO_EFFECTS:
            return store
        target = store.target if self.target is None else self.target
        static_max = store.static_max if self.static_max is None else self.static_max
        return StoreFacts(store.name, target, static_max, store.videoram)


NO_EFFECTS = Effects()
"""Nothing to write; always this very value, so that it can be asked for by identity."""


class Grant(NamedTuple):
    """Yes: the record as it is from now on, and what to write.

    `build_pages` is what an announced build has to be allowed until it runs, whatever the record
    says.
    """

    record: Record
    effects: Effects = NO_EFFECTS
    build_pages: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """No: a permanent code, a sentence that starts with "cannot", and the numbers."""

    code: str
    detail: str
    numbers: Mapping[str, int | str]


Verdict = Grant | Refusal
