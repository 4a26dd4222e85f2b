"""The slow lane: requests that come in many pieces are read in turn, a few at a time.

Else all pieces that hundreds of slow clients send would be read in one pass of the event loop, and
whoever sends whole requests would wait for it.
"""

import asyncio
from collections import deque
from typing import Protocol

EACH_S = 0.002
AT_ONCE = 2
"""So many pieces are read in so much time, of all who are in the lane together."""


class SlowReader(Protocol):
    """A connection that reads nothing until it is told."""

    def resume(self) -> None:
        """Read the next piece."""
        ...


class ReadScheduler:
    """Who waits to read on, first come first served. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._waiting: deque[SlowReader] = deque()

    def join(self, slow: SlowReader) -> None:
        """Let a connection go on when its turn comes."""
        if not self._waiting:
            self._move_soon()
        self._waiting.append(slow)

    def _move_soon(self) -> None:
        asyncio.get_running_loop().call_later(EACH_S, self._move)

    def _move(self) -> None:
        for _ in range(min(AT_ONCE, len(self._waiting))):
            self._waiting.popleft().resume()
        if self._waiting:
            self._move_soon()
