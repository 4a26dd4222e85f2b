"""One answer for all who ask for the same: made once between two changes, by one at a time.

An answer is given again while nothing has changed that maxmemd did or saw, for a second at most, as
Xen changes by itself. Who asks while one is made shares it if nothing has changed since it was
begun, else the next one. After one was made there is a pause, so that however many ask, a bounded
part of the time goes into it.
"""

import asyncio
from collections.abc import Awaitable, Callable

LATELY_S = 1.0
"""How old an answer may be."""
PAUSE, MOST_PAUSE_S = 2.0, 1.0
"""The next answer is begun this many times as long after one as that took, but not later."""


def _loop_s() -> float:
    return asyncio.get_running_loop().time()


class SharedAnswer:
    """Belongs to the event loop's thread.

    `make` makes an answer, `mark` returns what is another value after each change.
    """

    def __init__(
        self,
        make: Callable[[], Awaitable[bytes]],
        mark: Callable[[], object],
        clock_s: Callable[[], float] = _loop_s,
    ) -> None:
        self._make, self._mark, self._clock_s = make, mark, clock_s
        self._made: _Flight | None = None
        self._flights: list[_Flight] = []
        self._not_before_s = 0.0

    async def get(self) -> bytes:
        """Return an answer. Raises what making it raises."""
        mark = self._mark()
        flight = self._made
        if flight is not None and self._is_fresh(flight, mark):
            return await flight.task
        wanted = [each for each in self._flights if each.askers]  # the others are cancelled
        joinable = [each for each in wanted if each.began_s is None]
        joinable += [each for each in wanted if self._is_fresh(each, mark)]
        flight = joinable[0] if joinable else self._begin()
        flight.askers += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.askers -= 1
            if not flight.askers and not flight.task.done():
                flight.task.cancel()  # all who asked have gone

    def _is_fresh(self, flight: "_Flight", mark: object) -> bool:
        began_s = flight.began_s
        is_new = began_s is not None and self._clock_s() - began_s < LATELY_S
        return is_new and flight.mark == mark

    def _begin(self) -> "_Flight":
        flight = _Flight()
        before = self._flights[-1].task if self._flights else None
        self._flights.append(flight)
        flight.task = asyncio.get_running_loop().create_task(self._fly(flight, before))
        flight.task.add_done_callback(lambda _: self._flights.remove(flight))
        return flight

    async def _fly(self, flight: "_Flight", before: asyncio.Task[bytes] | None) -> bytes:
        if before is not None:
            await asyncio.wait([before])
        self._made = None  # it is not needed any more, and may be large
        await asyncio.sleep(self._not_before_s - self._clock_s())
        flight.mark, flight.began_s = self._mark(), self._clock_s()
        try:
            body = await self._make()
        finally:
            ended_s = self._clock_s()
            pause_s = min(PAUSE * (ended_s - flight.began_s), MOST_PAUSE_S)
            self._not_before_s = ended_s + pause_s
        self._made = flight
        asyncio.get_running_loop().call_later(LATELY_S, self._drop, flight)
        return body

    def _drop(self, flight: "_Flight") -> None:
        if self._made is flight:
            self._made = None


class _Flight:
    """One answer that is made, or was. `began_s` is None while it waits for its time."""

    __slots__ = ("askers", "began_s", "mark", "task")

    def __init__(self) -> None:
        self.askers = 0
        self.began_s: float | None = None
        self.mark: object = None
        self.task: asyncio.Task[bytes]
