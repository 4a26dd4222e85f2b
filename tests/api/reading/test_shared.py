"""One answer for all who ask between two changes."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from maxmemd.api.reading.shared import LATELY_S, PAUSE, SharedAnswer
from maxmemd.errors import XenstoreError
from tests.support.fakes import FakeClock
from tests.support.until import until_so


class Kitchen:
    """Makes numbered answers when it is let; `changes` is what has changed so far."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.begun = self.changes = 0
        self.let = asyncio.Event()
        self.error: Exception | None = None
        self.ended: list[int] = []
        self.answer = SharedAnswer(self.make, lambda: self.changes, self.clock.monotonic_s)

    async def make(self) -> bytes:
        """Make one."""
        self.begun += 1
        number = self.begun
        try:
            await self.let.wait()
        finally:
            self.ended.append(number)
        if self.error is not None:
            raise self.error
        return b"%d" % number

    async def has_begun(self, count: int) -> None:
        """Wait until so many were begun."""
        await until_so(lambda: self.begun >= count)

    def ask(self, count: int) -> list[asyncio.Task[bytes]]:
        """Ask so many times."""
        return [asyncio.create_task(self.answer.get()) for _ in range(count)]


def play(scene: Callable[[Kitchen], Awaitable[None]]) -> None:
    """Play a scene in an event loop."""

    async def run() -> None:
        await asyncio.wait_for(scene(Kitchen()), 30.0)

    asyncio.run(run())


def test_all_who_ask_share_one() -> None:
    """Before it is begun, while it is made, and afterwards until something changes."""

    async def scene(kitchen: Kitchen) -> None:
        tasks = kitchen.ask(10)
        await kitchen.has_begun(1)
        tasks += kitchen.ask(10)
        await asyncio.sleep(0.01)
        kitchen.let.set()
        assert set(await asyncio.gather(*tasks)) == {b"1"}
        assert await kitchen.answer.get() == b"1"
        kitchen.changes += 1
        assert await kitchen.answer.get() == b"2"
        assert await kitchen.answer.get() == b"2"
        assert kitchen.begun == 2

    play(scene)


def test_what_was_begun_before_a_change_is_not_for_who_asks_after_it() -> None:
    """All of those share the next one, which is begun when the first is done."""

    async def scene(kitchen: Kitchen) -> None:
        before = kitchen.ask(3)
        await kitchen.has_begun(1)
        kitchen.changes += 1
        after = kitchen.ask(5)
        kitchen.changes += 1
        after += kitchen.ask(5)
        await asyncio.sleep(0.01)
        assert kitchen.begun == 1
        kitchen.let.set()
        assert set(await asyncio.gather(*before)) == {b"1"}
        assert set(await asyncio.gather(*after)) == {b"2"}

    play(scene)


def test_an_answer_is_given_for_a_second_at_most() -> None:
    """Xen changes by itself; and an answer that is no longer given is not kept."""

    async def scene(kitchen: Kitchen) -> None:
        kitchen.let.set()
        assert await kitchen.answer.get() == b"1"
        kitchen.clock.forward(LATELY_S - 0.01)
        assert await kitchen.answer.get() == b"1"
        kitchen.clock.forward(0.02)
        assert await kitchen.answer.get() == b"2"
        made = kitchen.answer._made
        assert made is not None
        kitchen.answer._drop(made)
        assert kitchen.answer._made is None

    play(scene)


def test_after_one_there_is_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many times as long as it took."""
    slept: list[float] = []
    sleep = asyncio.sleep

    async def nap(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    async def scene(kitchen: Kitchen) -> None:
        monkeypatch.setattr("maxmemd.api.reading.shared.asyncio.sleep", nap)
        [first] = kitchen.ask(1)
        while not kitchen.begun:
            await sleep(0.001)
        kitchen.clock.forward(0.2)
        kitchen.let.set()
        await first
        kitchen.changes += 1
        await kitchen.answer.get()
        assert slept[-1] == pytest.approx(0.2 * PAUSE)

    play(scene)


def test_an_error_is_of_those_who_asked() -> None:
    """The next asker has another try."""

    async def scene(kitchen: Kitchen) -> None:
        kitchen.let.set()
        kitchen.error = XenstoreError("look", 5)
        for found in await asyncio.gather(*kitchen.ask(3), return_exceptions=True):
            assert isinstance(found, XenstoreError)
        kitchen.error = None
        assert await kitchen.answer.get() == b"2"

    play(scene)


def test_one_that_no_asker_waits_for_is_ended() -> None:
    """It goes on while there is one; after the last it is cancelled, and so is the next."""

    async def scene(kitchen: Kitchen) -> None:
        first, second = kitchen.ask(2)
        await kitchen.has_begun(1)
        kitchen.changes += 1
        [later] = kitchen.ask(1)
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0.01)
        assert kitchen.ended == []
        for task in (second, later):
            task.cancel()
        await asyncio.wait([first, second, later])
        await until_so(lambda: not kitchen.answer._flights)
        assert (kitchen.begun, kitchen.ended) == (1, [1])
        kitchen.let.set()
        assert await kitchen.answer.get() == b"2"

    play(scene)
