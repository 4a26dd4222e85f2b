"""A dear read in its thread: it works in strides, rests in between, and ends when it has to.

Python runs one thread at a time. A thread that works without a pause takes the interpreter from the
event loop and from the arbiter, five milliseconds at a time. So a read works for a millisecond and
then sleeps; how long depends on how many others do the same, so that all of them together take no
more than a part of the interpreter's time.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from maxmemd.errors import ReadTooLong
from maxmemd.pacing import Deadline

STRIDE_S = 0.001
REST = 4.0
"""A read rests this many times as long as it worked, for each read that runs."""
MOST_REST_S = 0.1
"""A rest at most: a process that was stopped for a while has not worked for so long."""

_NEVER = threading.Event()
T = TypeVar("T")


class Strides:
    """How many reads run now, in whatever pool."""

    def __init__(
        self,
        clock_s: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], object] = _NEVER.wait,
    ) -> None:
        self.clock_s, self.sleep = clock_s, sleep
        self._lock = threading.Lock()
        self.running = 0

    def __enter__(self) -> None:
        with self._lock:
            self.running += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.running -= 1


class Reading:
    """One dear read, as its thread sees it."""

    def __init__(self, deadline: Deadline, strides: Strides) -> None:
        self.deadline, self._strides = deadline, strides
        self._began_s = strides.clock_s()

    def each(self, items: Iterable[T], make: Callable[[T], bytes]) -> list[bytes]:
        """Return what `make` makes of each item. Raises ReadTooLong once the read has to end."""
        return list(map(self.resting(make), items))

    def resting(self, make: Callable[[T], bytes]) -> Callable[[T], bytes]:
        """Return `make` with a rest after it, if a stride is over."""

        def made(item: T) -> bytes:
            found = make(item)
            self.rest()
            return found

        return made

    def rest(self) -> None:
        """Rest if a stride is over. Raises ReadTooLong once the read has to end."""
        worked_s = self._strides.clock_s() - self._began_s
        if worked_s < STRIDE_S:
            return
        self.check()
        rest_s = worked_s * REST * max(1, self._strides.running)
        self._strides.sleep(min(rest_s, MOST_REST_S))
        self._began_s = self._strides.clock_s()

    def check(self) -> None:
        """Raise ReadTooLong once the read has to end."""
        if self.deadline.is_over:
            raise too_long()


def too_long() -> ReadTooLong:
    """Return the error of a read that has to end."""
    return ReadTooLong("cannot finish this read in time: ask for less, or again when less is asked")


def joined(head: bytes, pieces: Iterable[bytes], tail: bytes) -> bytes:
    """Return a JSON list with what stands before and after it."""
    return b"".join((head, b",".join(pieces), tail))
