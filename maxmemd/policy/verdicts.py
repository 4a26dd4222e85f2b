"""The two answers to a wish, and what a granted one does to the world."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from maxmemd.policy import facts
from maxmemd.policy.components import Record
from maxmemd.policy.facts import StoreFacts
from maxmemd.units import Memory

EFFECTS = POD_TARGET, STATIC_MAX, TARGET = "pod-target", "static-max", "target"
"""The effects' names."""


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

    def named(self) -> tuple[tuple[str, Memory], ...]:
        """Return what is to be written, each by its name."""
        if self is NO_EFFECTS:
            return ()
        amounts = zip(EFFECTS, (self.pod_target, self.static_max, self.target), strict=True)
        return tuple((name, amount) for name, amount in amounts if amount is not None)

    def without(self, names: Collection[str]) -> "Effects":
        """Return what is left to be written once these are."""
        if self is NO_EFFECTS or not names:
            return self
        left = Effects(
            None if POD_TARGET in names else self.pod_target,
            None if STATIC_MAX in names else self.static_max,
            None if TARGET in names else self.target,
        )
        return NO_EFFECTS if left == NO_EFFECTS else left

    def on(self, store: StoreFacts) -> StoreFacts:
        """Return what xenstore will say once these are written."""
        if self is NO_EFFECTS or not store.has_path:
            return store
        written = {facts.TARGET: self.target, facts.STATIC_MAX: self.static_max}
        return store._replace(
            target=store.target if self.target is None else self.target,
            static_max=store.static_max if self.static_max is None else self.static_max,
            unreadable=tuple(each for each in store.unreadable if written.get(each.node) is None),
        )


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
