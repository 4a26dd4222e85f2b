"""Accept TCP connections: TLS handshakes are limited in number and time, and by address.

Until the handshake is done the peer is unknown, and the limits of connections do not apply yet.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence

from maxmemd.api.auth.admission import Admission
from maxmemd.api.auth.peers import Peer, unauthenticated
from maxmemd.api.auth.refusal_log import RefusalLog
from maxmemd.api.problems import Rejected
from maxmemd.api.server.acceptor import Acceptor
from maxmemd.api.server.tcp import TcpListener

HANDSHAKE_WITHIN_S = 5.0
MOST_HANDSHAKES, MOST_HANDSHAKES_EACH = 128, 16
"""Concurrent handshakes: in all, and of one address. One more cancels the oldest, because a
handshake that makes progress is done long before it is the oldest."""


class TlsAcceptor(Acceptor):
    """Accepts connections of the TCP socket once their handshake is done."""

    def __init__(
        self,
        remote: TcpListener,
        make: Callable[[], asyncio.Protocol],
        admission: Admission,
        refusals: RefusalLog,
    ) -> None:
        """Start accepting. `make` creates the protocol of a connection."""
        self._context, self._admission, self._refusals = remote.context, admission, refusals
        self._handshakes: dict[asyncio.Task[None], Peer] = {}
        super().__init__(remote.sock, make)

    def _begin(self, connection: socket.socket, address: Sequence[object]) -> None:
        peer = unauthenticated(str(address[0]))
        try:
            self._admission.check_handshake(peer)
        except Rejected as rejected:
            self._refusals.count_and_log(peer, rejected.code, rejected.detail)
            connection.close()
            return
        self._make_room(peer)
        task = self._loop.create_task(self._shake_hands(connection, peer))
        self._handshakes[task] = peer
        task.add_done_callback(lambda task: self._handshakes.pop(task, None))

    def _make_room(self, newcomer: Peer) -> None:
        """Cancel the oldest handshake of its address, or of all, if a limit is reached."""
        same = [task for task, peer in self._handshakes.items() if peer.client == newcomer.client]
        full = len(self._handshakes) >= MOST_HANDSHAKES
        oldest = same[0] if len(same) >= MOST_HANDSHAKES_EACH else None
        if oldest is None and full:
            oldest = next(iter(self._handshakes))
        if oldest is not None:
            oldest.cancel()
            del self._handshakes[oldest]

    async def _shake_hands(self, connection: socket.socket, peer: Peer) -> None:
        """Run the handshake; a failure is logged as a refusal."""
        try:
            await self._loop.connect_accepted_socket(
                self._make,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_WITHIN_S,
            )
        except OSError as error:
            self._refusals.count_and_log(peer, "tls-failed", f"the TLS handshake failed: {error}")
