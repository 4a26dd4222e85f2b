"""Check every property of a model: whether it holds, and the shortest history that breaks it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from models.races import properties
from models.races.explorer import Exploration, explore
from models.races.host import is_announced
from models.races.models import LIMITS, MOVES, Model
from models.races.scenario import Scenario, State

PROPERTIES = ("nothing lost", "nothing twice", "any order", "migration", "explained", "admission")
"""Checked of every model, in the order of the table's columns."""

YES, NO, CRASH = "yes", "no", "crash"
"""It holds; it is broken; it is broken only when an actor is killed at the wrong moment."""


Rank = tuple[int, bool, int, int]


class Breach(NamedTuple):
    """The shortest history that breaks a property: who did what, in words, and what is wrong.

    `rank` is by what it was chosen; its first number counts the crashes.
    """

    actors: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]
    finding: str
    rank: Rank

    @property
    def crashes(self) -> int:
        """How many actors are killed in it."""
        return self.rank[0]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of one model. `breaches` has the properties that do not hold."""

    model: Model
    breaches: dict[str, Breach]
    scenarios: int
    states: int

    def holds(self, what: str) -> str:
        """Return yes, no, or crash."""
        breach = self.breaches.get(what)
        if breach is None:
            return YES
        return CRASH if breach.crashes else NO


def judge(model: Model, *, smallest: bool = False) -> Verdict:
    """Explore every scenario of a model; `smallest` leaves those of three actors out."""
    breaches: dict[str, Breach] = {}
    scenarios = states = 0
    for about, scenario in model.scenarios(smallest=smallest):
        exploration = explore(scenario)
        scenarios += 1
        states += exploration.states
        for what, end, finding in _findings(model, about, scenario, exploration):
            if what in breaches and breaches[what].crashes < end.crashes:
                continue
            steps = exploration.history(end)
            rank = _rank(what, scenario, steps, end.crashes)
            if what not in breaches or rank < breaches[what].rank:
                names = tuple(actor.name for actor in scenario.actors)
                breaches[what] = Breach(names, steps, finding, rank)
    return Verdict(model, breaches, scenarios, states)


def _findings(
    model: Model, about: str, scenario: Scenario, exploration: Exploration
) -> Iterator[tuple[str, State, str]]:
    """Give what is wrong at any end: the property, the end, and the finding in words.

    Ends without a domain are left out: a killed build leaves none that xenstore names.
    """
    ends = [end for end in exploration.ends if is_announced(end.host)]
    for what, check in _checks(model, about, scenario):
        for end in ends:
            finding = check(end)
            if finding is not None:
                yield what, end, finding


def _checks(
    model: Model, about: str, scenario: Scenario
) -> list[tuple[str, Callable[[State], str | None]]]:
    constant = model.constant
    if about == MOVES:
        return [("migration", lambda end: properties.find_broken_move(scenario, end, constant))]
    if about == LIMITS:
        return [("admission", lambda end: properties.find_overgrant(scenario, end, constant))]
    return [
        ("nothing lost", lambda end: properties.find_loss(scenario, end, constant)),
        ("nothing twice", lambda end: properties.find_excess(scenario, end, constant)),
        ("any order", _in_some_order(scenario)),
        ("explained", lambda end: properties.find_unexplained(end, model.explains)),
    ]


def _in_some_order(scenario: Scenario) -> Callable[[State], str | None]:
    """Return the check that some order of whole commands leaves the same end.

    All these orders must also leave the same amount beside the operator's. Ends with a crash are
    not checked.
    """
    serial = replace(scenario, serial=True, may_crash=False)
    ends = explore(serial).ends
    outcomes = {properties.outcome(end) for end in ends}
    rests = sorted(set(properties.rests(serial, ends)))

    def check(end: State) -> str | None:
        if end.crashes:
            return None
        found = properties.outcome(end)
        if found not in outcomes:
            maximum, target, static_max = found
            told = f"maximum {maximum}, target {target}, static-max {static_max}"
            return f"{told}: no order of whole commands leaves this"
        if len(rests) > 1:
            orders = " or ".join(map(str, rests))
            return f"beside the operator's word the order of commands leaves {orders} KiB"
        return None

    return check


def _rank(what: str, scenario: Scenario, steps: Sequence[tuple[str, str]], crashes: int) -> Rank:
    """Return how easy a breach is to explain; the smallest is shown.

    Fewer crashes first; then one with a command of the operator's in it, which is what was argued
    about; then fewer steps; then, of a migration, one that needs no interleaving.
    """
    kinds = {actor.kind for actor in scenario.actors}
    is_apart = "word" not in kinds and "move" not in kinds
    turns = sum(one[0] != other[0] for one, other in pairwise(steps)) if what == "migration" else 0
    return crashes, is_apart, len(steps), turns
