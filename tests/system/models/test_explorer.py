"""The explorer itself, on actors so small that the answer is known."""

from math import comb

import pytest

from models.races.actors import ModelActor, Status, Step, StepResult
from models.races.explorer import explore
from models.races.host import ModelHost
from models.races.scenario import Scenario, State

START = ModelHost((0,))


def counting(steps: int, kind: str = "bump") -> ModelActor:
    """Return an actor that adds 1 to Xen's number at each of its steps."""

    def step(host: ModelHost, _: int, __: tuple[int, ...]) -> StepResult:
        return StepResult("adds 1", host._replace(xen=(host.maximum + 1,)))

    return ModelActor("counter", kind, 0, (step,) * steps)


def noting(number: int) -> ModelActor:
    """Return an actor of two steps that writes down the order in which they are taken."""

    def step(host: ModelHost, me: int, _: tuple[int, ...]) -> StepResult:
        return StepResult("notes", host._replace(asked=(*host.asked, me)))

    return ModelActor(f"noter {number}", "word", number, (step, step))


def ends(*actors: ModelActor, may_crash: bool = False, serial: bool = False) -> tuple[State, ...]:
    """Return every end of a scenario."""
    return explore(Scenario(START, actors, may_crash=may_crash, serial=serial)).ends


@pytest.mark.parametrize("actors", [1, 2, 3])
def test_every_interleaving_is_there(actors: int) -> None:
    """Actors of two steps each can be interleaved in (2n)! / 2**n ways, and all are found."""
    wanted = 1
    for number in range(1, actors + 1):
        wanted *= comb(2 * number, 2)
    found = {end.host.asked for end in ends(*map(noting, range(actors)))}
    assert len(found) == wanted


def test_serial_is_whole_commands() -> None:
    """In an order of whole commands none begins while another one runs."""
    found = {end.host.asked for end in ends(noting(0), noting(1), serial=True)}
    assert found == {(0, 0, 1, 1), (1, 1, 0, 0)}


def test_every_crash_is_there() -> None:
    """An actor of three steps can be killed after the first and the second, and never later."""
    found = {(end.host.maximum, end.actors[0].status) for end in ends(counting(3), may_crash=True)}
    assert found == {(3, Status.DONE), (1, Status.CRASHED), (2, Status.CRASHED)}


def test_equal_states_are_visited_once() -> None:
    """Two counters of ten steps have 11 * 11 states, not 2 * 10 over 10 histories."""
    scenario = Scenario(START, (counting(10), counting(10)), may_crash=False)
    assert explore(scenario).states == 11 * 11


def test_a_history_is_the_shortest_way() -> None:
    """The history of an end says who did what, in order."""
    exploration = explore(Scenario(START, (noting(0), noting(1)), may_crash=False))
    end = next(end for end in exploration.ends if end.host.asked == (1, 0, 0, 1))
    actors = [who for who, _ in exploration.history(end)]
    assert actors == ["noter 1", "noter 0", "noter 0", "noter 1"]


def test_a_lock_dies_with_its_holder() -> None:
    """The kernel gives a dead process's lock back; the next one can go on."""

    def take(host: ModelHost, me: int, _: tuple[int, ...]) -> StepResult | None:
        return None if host.lock is not None else StepResult("locks", host._replace(lock=me))

    def give(host: ModelHost, _: int, __: tuple[int, ...]) -> StepResult:
        return StepResult("unlocks", host._replace(lock=None))

    steps: tuple[Step, ...] = (take, give)
    actors = tuple(ModelActor("locker", "word", 0, steps) for _ in range(2))
    for end in explore(Scenario(START, actors)).ends:
        assert all(now.status in (Status.DONE, Status.CRASHED) for now in end.actors)
        assert end.host.lock is None


def test_a_refusal_ends_a_program() -> None:
    """Who is refused takes no further step."""

    def refused(host: ModelHost, _: int, __: tuple[int, ...]) -> StepResult:
        return StepResult("is refused", host, refused=True)

    (end,) = ends(ModelActor("client", "word", 1, (refused, *counting(1).steps)))
    assert end.actors[0].status is Status.REFUSED
    assert end.host.maximum == 0


def test_a_later_word_knows_the_ones_before() -> None:
    """A word that begins after another one ended stands in its place; of two at once either may."""
    found = {
        end.host.asked: (end.actors[0].after, end.actors[1].after)
        for end in ends(noting(0), noting(1))
    }
    assert found[0, 0, 1, 1] == (frozenset(), frozenset({0}))
    assert found[0, 1, 0, 1] == (frozenset(), frozenset())
