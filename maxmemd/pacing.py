"""How often something may happen, and how long to wait after failures; callers give the time."""

import math
from dataclasses import dataclass

ROUNDING_S = 1e-6
"""Times are sums of floats: what is due by less than this is due now."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double with each failure in a row: `first_s` after the first, `most_s` at most."""

    first_s: float
    most_s: float

    def wait_s(self, failures: int) -> float:
        """Return how long to wait after a failure that so many others came before."""
        doubled = min(failures, 62)  # 2.0 ** 1024 raises, and most_s is reached long before
        return min(self.most_s, self.first_s * 2.0**doubled)


class TokenBucket:
    """Lets one thing pass every `every_s` seconds, and `burst_s` worth of them at once."""

    __slots__ = ("burst_s", "due_s", "every_s", "missed")

    def __init__(self, every_s: float, burst_s: float) -> None:
        self.every_s, self.burst_s = every_s, burst_s
        self.due_s = -math.inf
        self.missed = 0

    def wait_s(self, now_s: float) -> float:
        """Take one, and return 0; where none is left, return after how many seconds there is."""
        ahead_s = max(0.0, self.due_s - now_s)
        wait_s = ahead_s + self.every_s - max(self.burst_s, self.every_s)
        if wait_s > ROUNDING_S:
            return wait_s
        self.due_s = now_s + ahead_s + self.every_s
        return 0.0
