"""Every interleaving of a few actors, breadth first, with a crash of any actor at every step."""

from typing import NamedTuple

from models.races.scenario import Progress, Scenario, State


class Exploration(NamedTuple):
    """Every end, nearest first; the number of states; and how each state was first reached."""

    ends: tuple[State, ...]
    states: int
    came_from: dict[State, tuple[State, str, str]]

    def history(self, end: State) -> tuple[tuple[str, str], ...]:
        """Return the shortest way to a state: who did what, in words."""
        found: list[tuple[str, str]] = []
        while end in self.came_from:
            end, who, words = self.came_from[end]
            found.append((who, words))
        return tuple(reversed(found))


def explore(scenario: Scenario) -> Exploration:
    """Visit every state once, breadth first. In an end nothing can happen but a crash."""
    start = State(scenario.start, tuple(Progress() for _ in scenario.actors))
    came_from: dict[State, tuple[State, str, str]] = {}
    seen, level, ends = {start}, [start], []
    while level:
        following: list[State] = []
        for state in level:
            goes_on = False
            for who, words, reached in scenario.moves(state):
                goes_on = goes_on or reached.crashes == state.crashes
                if reached not in seen:
                    seen.add(reached)
                    came_from[reached] = (state, who, words)
                    following.append(reached)
            if not goes_on:
                ends.append(state)
        level = following
    return Exploration(tuple(ends), len(seen), came_from)
