"""Accept TCP connections: TLS handshakes are limited in number and time, and by address.

Until the handshake is done the peer is unknown, and the limits of connections do not apply yet.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from maxmemd.api.asgi import Headers
from maxmemd.api.auth.admission import Admission
from maxmemd.api.auth.peers import Peer, unauthenticated
from maxmemd.api.auth.refusal_log import RefusalLog
from maxmemd.api.problems import Rejected
from maxmemd.api.response import last_reply
from maxmemd.api.server.acceptor import Acceptor
from maxmemd.api.server.tcp import TcpListener

HANDSHAKE_WITHIN_S, LEAST_HANDSHAKE_S = 5.0, 0.1
MOST_HANDSHAKES, MOST_HANDSHAKES_EACH = 128, 16
"""Concurrent handshakes: in all, and of one address. One more cancels the oldest, because a
handshake that makes progress is done long before it is the oldest."""
MOST_PEEKED = 64 * 1024
PLAIN_HTTP = (
    "cannot read the request: plain HTTP was sent to a port that speaks TLS (give https://)"
)


class TlsAcceptor(Acceptor):
    """Accepts connections of the TCP socket once their handshake is done."""

    def __init__(
        self,
        remote: TcpListener,
        make: Callable[[], asyncio.Protocol],
        admission: Admission,
        refusals: RefusalLog,
        common: Headers = (),
    ) -> None:
        """Start accepting. `make` creates the protocol of a connection.

        `common` are the headers of every response.
        """
        self._context, self._admission, self._refusals = remote.context, admission, refusals
        self._common = common
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
        began_s = self._loop.time()
        try:
            if await self._speaks_plain_http(connection):
                self._refuse_plain_http(connection, peer)
                return
            await self._loop.connect_accepted_socket(
                self._make,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=max(
                    LEAST_HANDSHAKE_S, HANDSHAKE_WITHIN_S - (self._loop.time() - began_s)
                ),
            )
        except OSError as error:
            self._refusals.count_and_log(peer, "tls-failed", f"the TLS handshake failed: {error}")

    async def _speaks_plain_http(self, connection: socket.socket) -> bool:
        """Whether a client begins with a letter: a method of HTTP does, a handshake does not.

        OpenSSL would end such a connection without a word, and the client would take it for lost.
        Raises OSError, and the connection is closed.
        """
        try:
            await self._wait_for_bytes(connection)
            return connection.recv(1, socket.MSG_PEEK).isalpha()
        except BaseException:
            connection.close()
            raise

    async def _wait_for_bytes(self, connection: socket.socket) -> None:
        ready = self._loop.create_future()

        def on_readable() -> None:
            if not ready.done():
                ready.set_result(None)

        self._loop.add_reader(connection.fileno(), on_readable)
        try:
            async with asyncio.timeout(HANDSHAKE_WITHIN_S):
                await ready
        except TimeoutError:
            raise TimeoutError(f"nothing came within {HANDSHAKE_WITHIN_S:.0f} s") from None
        finally:
            self._loop.remove_reader(connection.fileno())

    def _refuse_plain_http(self, connection: socket.socket, peer: Peer) -> None:
        """Answer in plain HTTP that this is TLS."""
        why = Rejected("request-invalid", PLAIN_HTTP)
        why_failed = "the TLS handshake failed: the client sent plain HTTP"
        self._refusals.count_and_log(peer, "tls-failed", why_failed)
        with connection, suppress(OSError):
            connection.recv(MOST_PEEKED)  # what is left unread would reset the connection
            connection.sendall(last_reply(why, self._common))
            connection.shutdown(socket.SHUT_WR)
