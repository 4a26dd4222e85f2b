"""The door to TCP: TLS handshakes are bounded in number and time, and by address.

Before it is over nobody knows who comes, and none of the bounds of a connection holds yet.
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
"""At a time: in all, and of one address. Who begins one more ends the oldest: one that gets on is
over long before it is the oldest."""


class TlsAcceptor(Acceptor):
    """Lets in who waits at the TCP socket, once the handshake is done."""

    def __init__(
        self,
        remote: TcpListener,
        make: Callable[[], asyncio.Protocol],
        admission: Admission,
        refusals: RefusalLog,
    ) -> None:
        """Take what remote.py has bound, what makes a connection's protocol, and whom to ask."""
        self._context, self._admission, self._refusals = remote.context, admission, refusals
        self._handshakes: dict[asyncio.Task[None], Peer] = {}
        super().__init__(remote.sock, make)

    def _begin(self, connection: socket.socket, address: Sequence[object]) -> None:
        """Begin a handshake, unless its address begins too many; make room for it."""
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
        """End the oldest handshake of its address, or of all, where there are the most."""
        same = [task for task, peer in self._handshakes.items() if peer.client == newcomer.client]
        full = len(self._handshakes) >= MOST_HANDSHAKES
        oldest = same[0] if len(same) >= MOST_HANDSHAKES_EACH else None
        if oldest is None and full:
            oldest = next(iter(self._handshakes))
        if oldest is not None:
            oldest.cancel()
            del self._handshakes[oldest]

    async def _shake_hands(self, connection: socket.socket, peer: Peer) -> None:
        """Make a connection; one that fails is over, which is logged like a refusal."""
        try:
            await self._loop.connect_accepted_socket(
                self._make,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_WITHIN_S,
            )
        except OSError as error:
            self._refusals.count_and_log(peer, "tls-failed", f"the TLS handshake failed: {error}")
