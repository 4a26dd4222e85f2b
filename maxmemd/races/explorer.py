"""Every interleaving of a few actors, breadth first, with a crash of any actor at every step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from maxmemd.races.world import World


class Status(Enum):
    """How far an actor is. A refused one was told so; of one that crashed nobody knows."""

    IDLE = "idle"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    CRASHED = "crashed"


class Taken(NamedTuple):
    """A step that was taken: in words, the world after it, and what the actor knows now."""

    words: str
    world: World
    memory: tuple[int, ...] = ()
    refused: bool = False


Step = Callable[[World, int, tuple[int, ...]], Taken | None]
"""A step of an actor: the world, its own number, and what it knows; None when it has to wait."""


@dataclass(frozen=True, slots=True)
class Actor:
    """A program of steps. `kind` is word, bump or move; a word is the operator's, a bump adds."""

    name: str
    kind: str
    amount: int
    steps: tuple[Step, ...]


class Progress(NamedTuple):
    """Where one actor is. `after` are the operator's words that had ended when it began."""

    status: Status = Status.IDLE
    step: int = 0
    memory: tuple[int, ...] = ()
    after: frozenset[int] = frozenset()


class State(NamedTuple):
    """The world and its actors at one moment; `crashes` counts the deaths so far."""

    world: World
    actors: tuple[Progress, ...]
    crashes: int = 0


class Move(NamedTuple):
    """One step from a state to the next: who, in words."""

    who: str
    words: str
    state: State


Server = Callable[[World], Taken | None]
"""An actor that serves the others for ever: its next step, or None while nobody asks."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Some actors in one world. `server` and its name only where a model has one.

    `serial` lets no actor begin while another one runs: an order of whole commands.
    """

    start: World
    actors: tuple[Actor, ...]
    server: Server | None = None
    served_by: str = ""
    ceiling: int | None = None
    serial: bool = False
    may_crash: bool = True

    def moves(self, state: State) -> Iterator[Move]:
        """Give every step that can be taken now, and every death that can be died."""
        for number, (actor, now) in enumerate(zip(self.actors, state.actors, strict=True)):
            if now.status in (Status.IDLE, Status.RUNNING) and self._may_go(state, number):
                taken = actor.steps[now.step](state.world, number, now.memory)
                if taken is not None:
                    yield Move(actor.name, taken.words, self._after(state, number, taken))
            if self.may_crash and now.status is Status.RUNNING:
                yield Move(actor.name, "is killed", self._killed(state, number))
        if self.server is not None:
            yield from self._served(self.server, state)

    def _may_go(self, state: State, number: int) -> bool:
        if not self.serial:
            return True
        others = (now for other, now in enumerate(state.actors) if other != number)
        return all(now.status is not Status.RUNNING for now in others)

    def _after(self, state: State, number: int, taken: Taken) -> State:
        now = state.actors[number]
        after = self._ended_words(state) if now.status is Status.IDLE else now.after
        status, step = Status.RUNNING, now.step + 1
        if taken.refused:
            status = Status.REFUSED
        elif step == len(self.actors[number].steps):
            status = Status.DONE
        memory = taken.memory if status is Status.RUNNING else ()
        progress = Progress(status, step if status is Status.RUNNING else 0, memory, after)
        return State(taken.world, _put(state.actors, number, progress), state.crashes)

    def _killed(self, state: State, number: int) -> State:
        """Kill an actor: the kernel gives its lock back (flock), nothing else is undone."""
        world = state.world
        if world.lock == number:
            world = world._replace(lock=None)
        progress = Progress(Status.CRASHED, after=state.actors[number].after)
        return State(world, _put(state.actors, number, progress), state.crashes + 1)

    def _served(self, server: Server, state: State) -> Iterator[Move]:
        taken = server(state.world)
        if taken is not None:
            yield Move(self.served_by, taken.words, state._replace(world=taken.world))
        if self.may_crash and state.world.may_fall:
            words = "is killed; whoever waits for it learns nothing"
            yield Move(self.served_by, words, self._fallen(state))

    def _fallen(self, state: State) -> State:
        """Kill the server: what it was asked and had not answered is in doubt."""
        actors = tuple(
            now
            if now.status is not Status.RUNNING or number not in state.world.asked
            else Progress(Status.CRASHED, after=now.after)
            for number, now in enumerate(state.actors)
        )
        return State(state.world.fallen(), actors, state.crashes + 1)

    def _ended_words(self, state: State) -> frozenset[int]:
        return frozenset(
            number
            for number, now in enumerate(state.actors)
            if self.actors[number].kind == "word" and now.status in (Status.DONE, Status.CRASHED)
        )


class Explored(NamedTuple):
    """All that was found: every end, in the order of its distance, and how many states."""

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


def explore(scenario: Scenario) -> Explored:
    """Visit every state once, breadth first. An end is where no step is left but dying."""
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
    return Explored(tuple(ends), len(seen), came_from)


def _put(actors: tuple[Progress, ...], number: int, progress: Progress) -> tuple[Progress, ...]:
    return (*actors[:number], progress, *actors[number + 1 :])
