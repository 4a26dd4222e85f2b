"""What must hold where every actor has ended: nothing lost, nothing twice, and so on.

A finding is a sentence that says what is wrong; None says that nothing is.
"""

from collections.abc import Callable, Iterator
from itertools import product

from models.races.actors import Status
from models.races.host import BUILT_WITH, ModelHost
from models.races.scenario import Scenario, State

Explains = Callable[[ModelHost], frozenset[int]]
"""What a reader of everything that is stored would say the maximum must be."""


def contributions(scenario: Scenario, end: State, constant: int) -> list[int]:
    """Return what the maximum may be (KiB): every sum that counts each owner's part rightly.

    What was confirmed counts once. What an actor was at when it was killed counts once or not
    at all. Of the operator's words the last stands; of two at once either may be the last.
    """
    sums = [constant]
    for actor, now in zip(scenario.actors, end.actors, strict=True):
        if actor.kind == "bump" and now.status is Status.DONE:
            sums = [total + actor.amount for total in sums]
        elif actor.kind == "bump" and now.status is Status.CRASHED:
            sums += [total + actor.amount for total in sums]
    return sorted({word + total for word, total in product(last_words(scenario, end), sums)})


def last_words(scenario: Scenario, end: State) -> list[int]:
    """Return the operator's words that may stand, in KiB."""
    spoken = {
        number: now
        for number, (actor, now) in enumerate(zip(scenario.actors, end.actors, strict=True))
        if actor.kind == "word" and now.status in (Status.DONE, Status.CRASHED)
    }
    done = [now for now in spoken.values() if now.status is Status.DONE]
    standing = [n for n in spoken if not any(n in now.after for now in done)]
    words = [scenario.actors[number].amount for number in standing]
    return words if done else [BUILT_WITH, *words]


def off_by(scenario: Scenario, end: State, constant: int) -> int:
    """Return how much more Xen allows than it should (KiB), by the nearest sum it may be."""
    held = end.host.maximum
    gaps = [held - total for total in contributions(scenario, end, constant)]
    return min(gaps, key=abs)


def find_loss(scenario: Scenario, end: State, constant: int) -> str | None:
    """Find a contribution that is missing from Xen's maximum."""
    gap = off_by(scenario, end, constant)
    return f"Xen holds {end.host.maximum}: {-gap} KiB are lost" if gap < 0 else None


def find_excess(scenario: Scenario, end: State, constant: int) -> str | None:
    """Find a contribution that counts beside what replaced it, or twice."""
    gap = off_by(scenario, end, constant)
    words = f"Xen holds {end.host.maximum}: {gap} KiB too many are counted"
    return words if gap > 0 else None


def find_unexplained(end: State, explains: Explains) -> str | None:
    """Find a maximum that nothing that is stored accounts for."""
    sums = explains(end.host)
    if end.host.maximum in sums:
        return None
    told = " or ".join(str(total) for total in sorted(sums)) or "nothing that all agree on"
    return f"Xen holds {end.host.maximum}, and what is stored says {told}"


def find_broken_move(scenario: Scenario, end: State, constant: int) -> str | None:
    """Find a migration that died, or after which a contribution is missing or too many."""
    for actor, now in zip(scenario.actors, end.actors, strict=True):
        if actor.kind == "move" and now.status is Status.REFUSED:
            return "the migration has failed"
    return find_loss(scenario, end, constant) or find_excess(scenario, end, constant)


def find_overgrant(scenario: Scenario, end: State, constant: int) -> str | None:
    """Find that more was granted than may be, though every actor checked before it wrote."""
    granted = min(contributions(scenario, end, constant))
    if scenario.ceiling is not None and granted > scenario.ceiling:
        return f"{granted} were granted in all, and {scenario.ceiling} is the ceiling"
    target, static_max = end.host.target, end.host.static_max
    if target is not None and static_max is not None and target > static_max:
        return f"the target is {target}, above the static-max of {static_max}"
    return None


def outcome(end: State) -> tuple[int, int | None, int | None]:
    """Return what is left behind for all to see: Xen's maximum, target, static-max."""
    return end.host.maximum, end.host.target, end.host.static_max


def rests(scenario: Scenario, ends: tuple[State, ...]) -> Iterator[int]:
    """Give what Xen holds beside the operator's last word after each order of whole commands."""
    for end in ends:
        (word,) = last_words(scenario, end)
        yield end.host.maximum - word
