"""Wait for a condition."""

import time
from collections.abc import Callable

WITHIN_S = 60.0
"""A deadline for what should take moments, on a machine that may be busy."""


def until(
    what: str, true: Callable[[], object], *, within_s: float = WITHIN_S, every_s: float = 0.01
) -> float:
    """Wait until something is true; return after how many seconds. Fails at the deadline."""
    began_s = time.monotonic()
    while not true():
        assert time.monotonic() - began_s < within_s, f"not within {within_s} s: {what}"
        time.sleep(every_s)
    return time.monotonic() - began_s
