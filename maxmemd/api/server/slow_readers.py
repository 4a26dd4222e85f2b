"""Schedule the reads of slow clients, whose requests arrive in many pieces.

Otherwise one event-loop iteration would read the pieces of hundreds of slow clients, and clients
that send whole requests would have to wait for it.
"""

import asyncio
from collections import deque
from typing import Protocol

EACH_S = 0.002
AT_ONCE = 2
"""AT_ONCE pieces are read every EACH_S, over all slow clients together."""


class SlowReader(Protocol):
    """A connection that is paused until `resume`."""

    def resume(self) -> None:
        """Read one more piece."""
        ...


class ReadScheduler:
    """The connections that wait to read, in order. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._waiting: deque[SlowReader] = deque()

    def join(self, slow: SlowReader) -> None:
        """Queue a connection; it is resumed when its turn comes."""
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
