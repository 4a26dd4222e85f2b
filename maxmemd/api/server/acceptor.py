"""Accept one connection per event-loop iteration, at most one per millisecond under load.

The servers of asyncio and uvloop accept all waiting connections before they serve a request again.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence

from maxmemd.pacing import TokenBucket

LOG = logging.getLogger("maxmemd.api")
EACH_S, BURST_S = 0.001, 0.016
"""Accept one connection per EACH_S, and bursts of BURST_S / EACH_S."""
REST_S = 1.0
"""Pause accepting for this long after EMFILE; clients wait in the socket's backlog."""


class Acceptor:
    """Accepts the connections of a listening socket. Belongs to the event loop's thread."""

    def __init__(self, sock: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        """Start accepting. `sock` is non-blocking; `make` creates the protocol of a connection."""
        self._sock, self._make = sock, make
        self._loop = asyncio.get_running_loop()
        self._coming: set[asyncio.Task[object]] = set()
        self._resting: asyncio.TimerHandle | None = None
        self._pace = TokenBucket(EACH_S, BURST_S)
        self._open()

    def close(self) -> None:
        """Stop accepting; the socket stays open."""
        self._loop.remove_reader(self._sock.fileno())
        if self._resting is not None:
            self._resting.cancel()

    def _open(self) -> None:
        self._resting = None
        self._loop.add_reader(self._sock.fileno(), self._next)

    def _next(self) -> None:
        wait_s = self._pace.wait_s(self._loop.time())
        if wait_s:
            self._rest(wait_s)
            return
        try:
            connection, address = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            LOG.error("cannot accept connections for %.0f s: %s", REST_S, error.strerror)  # noqa: TRY400 - the host's fault
            self._rest(REST_S)
            return
        connection.setblocking(False)
        self._begin(connection, address)

    def _begin(self, connection: socket.socket, address: Sequence[object]) -> None:  # noqa: ARG002 - for TlsAcceptor
        coming = self._loop.create_task(self._connect(connection))
        self._coming.add(coming)
        coming.add_done_callback(self._coming.discard)

    def _rest(self, seconds: float) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._resting = self._loop.call_later(seconds, self._open)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, connection)
        except OSError as error:
            connection.close()
            LOG.warning("a connection closed before it was set up: %s", error.strerror)
