"""A scenario: some actors on one host, and every step that can follow from a state."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from models.races.actors import ModelActor, Status, StepResult
from models.races.host import ModelHost


class Progress(NamedTuple):
    """Where one actor is. `after` has the operator's words that had ended before it began."""

    status: Status = Status.IDLE
    step: int = 0
    memory: tuple[int, ...] = ()
    after: frozenset[int] = frozenset()


class State(NamedTuple):
    """The host and its actors at one moment; `crashes` counts those so far."""

    host: ModelHost
    actors: tuple[Progress, ...]
    crashes: int = 0


class Move(NamedTuple):
    """One step from a state to the next: who, in words."""

    who: str
    words: str
    state: State


ServerStep = Callable[[ModelHost], StepResult | None]
"""The next step of the server that the actors ask; None while it has nothing to do."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Some actors on one host; `server` and its name only in a model that has one.

    `serial` lets no actor begin while another one runs: an order of whole commands.
    """

    start: ModelHost
    actors: tuple[ModelActor, ...]
    server: ServerStep | None = None
    served_by: str = ""
    ceiling: int | None = None
    serial: bool = False
    may_crash: bool = True

    def moves(self, state: State) -> Iterator[Move]:
        """Give every step that can be taken now, and every crash that can happen."""
        for number, (actor, now) in enumerate(zip(self.actors, state.actors, strict=True)):
            if now.status in (Status.IDLE, Status.RUNNING) and self._may_go(state, number):
                taken = actor.steps[now.step](state.host, number, now.memory)
                if taken is not None:
                    yield Move(actor.name, taken.words, self._advance(state, number, taken))
            if self.may_crash and now.status is Status.RUNNING:
                yield Move(actor.name, "is killed", self._kill(state, number))
        if self.server is not None:
            yield from self._server_moves(self.server, state)

    def _may_go(self, state: State, number: int) -> bool:
        if not self.serial:
            return True
        others = (now for other, now in enumerate(state.actors) if other != number)
        return all(now.status is not Status.RUNNING for now in others)

    def _advance(self, state: State, number: int, taken: StepResult) -> State:
        now = state.actors[number]
        after = self._ended_words(state) if now.status is Status.IDLE else now.after
        status, step = Status.RUNNING, now.step + 1
        if taken.refused:
            status = Status.REFUSED
        elif step == len(self.actors[number].steps):
            status = Status.DONE
        memory = taken.memory if status is Status.RUNNING else ()
        progress = Progress(status, step if status is Status.RUNNING else 0, memory, after)
        return State(taken.host, _put(state.actors, number, progress), state.crashes)

    def _kill(self, state: State, number: int) -> State:
        """Kill an actor: the kernel gives its lock back (flock), nothing else is undone."""
        host = state.host
        if host.lock == number:
            host = host._replace(lock=None)
        progress = Progress(Status.CRASHED, after=state.actors[number].after)
        return State(host, _put(state.actors, number, progress), state.crashes + 1)

    def _server_moves(self, server: ServerStep, state: State) -> Iterator[Move]:
        taken = server(state.host)
        if taken is not None:
            yield Move(self.served_by, taken.words, state._replace(host=taken.host))
        if self.may_crash and state.host.may_fall:
            words = "is killed; what waits for it learns nothing"
            yield Move(self.served_by, words, self._kill_server(state))

    def _kill_server(self, state: State) -> State:
        """Kill the server: actors that wait for its answer never learn what it did."""
        actors = tuple(
            now
            if now.status is not Status.RUNNING or number not in state.host.asked
            else Progress(Status.CRASHED, after=now.after)
            for number, now in enumerate(state.actors)
        )
        return State(state.host.fallen(), actors, state.crashes + 1)

    def _ended_words(self, state: State) -> frozenset[int]:
        return frozenset(
            number
            for number, now in enumerate(state.actors)
            if self.actors[number].kind == "word" and now.status in (Status.DONE, Status.CRASHED)
        )


def _put(actors: tuple[Progress, ...], number: int, progress: Progress) -> tuple[Progress, ...]:
    return (*actors[:number], progress, *actors[number + 1 :])
