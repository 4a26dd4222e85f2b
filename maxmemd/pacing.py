"""Back-off, rate limits and deadlines; the caller passes the time."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

ROUNDING_S = 1e-6
"""Times are sums of floats: what is due within this time is due now."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """A wait that doubles with each failure in a row, from `first_s` up to `most_s`."""

    first_s: float
    most_s: float

    def wait_s(self, failures: int) -> float:
        """Return how long to wait after a failure that followed this many others."""
        doubled = min(failures, 62)  # 2.0 ** 1024 raises, and most_s is reached long before
        return min(self.most_s, self.first_s * 2.0**doubled)


class TokenBucket:
    """Allows one event every `every_s` seconds, and a burst of `burst_s` seconds' worth of them."""

    __slots__ = ("burst_s", "due_s", "every_s", "missed")

    def __init__(self, every_s: float, burst_s: float) -> None:
        self.every_s, self.burst_s = every_s, burst_s
        self.due_s = -math.inf
        self.missed = 0

    def wait_s(self, now_s: float, count: int = 1) -> float:
        """Take `count` tokens and return 0; if so many are not left, return the seconds until then.

        A full bucket gives any number: more than a burst has to be waited for afterwards.
        """
        taken_s = count * self.every_s
        ahead_s = max(0.0, self.due_s - now_s)
        wait_s = ahead_s + taken_s - max(self.burst_s, taken_s)
        if wait_s > ROUNDING_S:
            return wait_s
        self.due_s = now_s + ahead_s + taken_s
        return 0.0

    def owe(self, now_s: float, count: int) -> None:
        """Take `count` tokens more, whether or not they are left."""
        self.due_s = max(self.due_s, now_s) + count * self.every_s


class Deadline:
    """Until when a piece of work is wanted; `end` says that it is not, from any thread."""

    __slots__ = ("_clock_s", "_until_s")

    def __init__(self, within_s: float, clock_s: Callable[[], float] = monotonic) -> None:
        self._clock_s = clock_s
        self._until_s = clock_s() + within_s

    @property
    def is_over(self) -> bool:
        """Whether the work is no longer wanted."""
        return self._clock_s() >= self._until_s

    def end(self) -> None:
        """Let it be over now."""
        self._until_s = -math.inf
