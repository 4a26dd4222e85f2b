"""How connections come in: one in each pass of the event loop, and of a crowd one a millisecond.

A server of asyncio's or uvloop's takes all that wait before it serves anybody again.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence

from maxmemd.pacing import TokenBucket

LOG = logging.getLogger("maxmemd.api")
EACH_S, BURST_S = 0.001, 0.016
"""So often one comes in, and as many at once as would else have come in that time."""
REST_S = 1.0
"""Without a descriptor left, so long nobody comes in; others wait in the socket's queue."""


class Acceptor:
    """Lets in who waits at a listening socket. Belongs to the event loop's thread."""

    def __init__(self, sock: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        """Take a socket that does not block, and what makes the protocol of a connection."""
        self._sock, self._make = sock, make
        self._loop = asyncio.get_running_loop()
        self._coming: set[asyncio.Task[object]] = set()
        self._resting: asyncio.TimerHandle | None = None
        self._pace = TokenBucket(EACH_S, BURST_S)
        self._open()

    def close(self) -> None:
        """Let nobody in any more; the socket stays as it is."""
        self._loop.remove_reader(self._sock.fileno())
        if self._resting is not None:
            self._resting.cancel()

    def _open(self) -> None:
        self._resting = None
        self._loop.add_reader(self._sock.fileno(), self._next)

    def _next(self) -> None:
        """Let the next one in, if it is not too soon."""
        wait_s = self._pace.wait_s(self._loop.time())
        if wait_s:
            self._rest(wait_s)
            return
        try:
            connection, address = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            LOG.error("cannot let anybody in for %.0f s: %s", REST_S, error.strerror)  # noqa: TRY400 - it is the host's
            self._rest(REST_S)
            return
        connection.setblocking(False)
        self._begin(connection, address)

    def _begin(self, connection: socket.socket, address: Sequence[object]) -> None:  # noqa: ARG002 - tls.py's
        """Make a connection of who has come in, soon."""
        coming = self._loop.create_task(self._connect(connection))
        self._coming.add(coming)
        coming.add_done_callback(self._coming.discard)

    def _rest(self, seconds: float) -> None:
        """Let nobody in for a while."""
        self._loop.remove_reader(self._sock.fileno())
        self._resting = self._loop.call_later(seconds, self._open)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, connection)
        except OSError as error:
            connection.close()
            LOG.warning("a connection ended before it began: %s", error.strerror)
