"""Back-off and rate limits; the caller passes the time."""

import math
from dataclasses import dataclass

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

    def wait_s(self, now_s: float) -> float:
        """Take a token and return 0; if none is left, return the seconds until there is one."""
        ahead_s = max(0.0, self.due_s - now_s)
        wait_s = ahead_s + self.every_s - max(self.burst_s, self.every_s)
        if wait_s > ROUNDING_S:
            return wait_s
        self.due_s = now_s + ahead_s + self.every_s
        return 0.0
