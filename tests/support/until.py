"""Wait for a condition."""

import asyncio
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


async def until_so(true: Callable[[], object], *, within_s: float = WITHIN_S) -> None:
    """Wait in an event loop until something is true, which another thread or task makes so."""
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110 - it may be a thread's doing
            await asyncio.sleep(0.001)
