"""uvicorn's HTTP protocol with the peer's identity and a bound on all that a client can hold.

Stock uvicorn waits forever for the end of a request, accepts headers of any size, and queues any
number of pipelined requests; each is a denial of service.
"""

import asyncio
from collections.abc import Awaitable, Iterable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from maxmemd.api.asgi import Receive, Scope, Send
from maxmemd.api.auth.peers import UNKNOWN_PEER, Peer
from maxmemd.api.dispatch import Dispatcher
from maxmemd.api.problems import Rejected
from maxmemd.api.request import MOST_BODY_BYTES
from maxmemd.api.response import last_reply
from maxmemd.policy.roles import ADMIN, TOOLSTACK

MOST_HEADER_BYTES = 16 * 1024
MOST_PIPELINED = 4
MANY_PIECES = 2
"""A request that is incomplete after this many pieces is read by the ReadScheduler."""
REQUEST_WITHIN_S = 5.0
"""A request must be complete within this time, and so must a connection's first one."""
READ_WITHIN_S = 5.0
"""A client must read some of its response within this time."""
MOST_CONNECTIONS = 2048
RESERVED, KEPT_FOR_ADMINS = 256, 64
"""RESERVED connections are for admins and toolstacks, KEPT_FOR_ADMINS of them for admins only, so
that no client can lock them out."""
_LEFT_BY = {ADMIN: 0, TOOLSTACK: KEPT_FOR_ADMINS}


class _WithPeer:
    """The application, with the connection's peer in the scope of every request."""

    __slots__ = ("app", "peer")

    def __init__(self, app: Dispatcher, peer: Peer) -> None:
        self.app, self.peer = app, peer

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope["maxmemd.peer"] = self.peer
        return self.app(scope, receive, send)


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. A request that exceeds a bound is answered 400, and the connection closed.

    `head` identifies the head that is being read, None between heads; `head_bytes` counts its
    bytes in pieces that neither begin nor end it, which httptools does not report. `pieces` counts
    the pieces of an incomplete request.
    """

    peer: Peer = UNKNOWN_PEER
    head: object | None = None
    head_bytes = 0
    head_is_split = False
    pieces = 0
    waiting_since = 0.0
    stalled_since = 0.0
    stalled_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Identify the peer; refuse the connection at a limit before anything is read."""
        super().connection_made(transport)
        self.cycles: list[RequestResponseCycle] = []
        self.dispatcher: Dispatcher = self.app
        self.peer = self._register(transport)
        self.app = _WithPeer(self.dispatcher, self.peer)
        self.waiting_since = self.loop.time()
        left = _LEFT_BY.get(self.peer.role.name, RESERVED)
        if len(self.connections) > MOST_CONNECTIONS - left:
            role, most = self.peer.role.name, MOST_CONNECTIONS - left
            why = f"connection limit for {role}s reached ({most})"
            self.dispatcher.refusals.count_and_log(self.peer, "too-many-connections", why)
            self.transport.abort()
            return
        try:
            self.dispatcher.admission.check_connection(self.peer)
        except Rejected as rejected:
            self._reject(rejected)
        else:
            self.dispatcher.pin_domain(self.peer)

    def _register(self, transport: asyncio.Transport) -> Peer:
        return self.dispatcher.admission.register(transport)

    def on_message_begin(self) -> None:
        """Start a request's deadline; refuse one pipelined request too many."""
        if len(self.pipeline) >= MOST_PIPELINED:
            raise OverflowError("too many pipelined requests")
        self.head_bytes = self.pieces = 0
        self.head = object()
        self.waiting_since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin to serve a request, or queue it; refuse a head that is too large."""
        self.head = None
        if self.head_is_split:
            lines = sum(len(name) + len(value) + 4 for name, value in self.headers)
            if len(self.url) + lines > MOST_HEADER_BYTES:
                raise OverflowError("too many header bytes")
        super().on_headers_complete()
        self.cycles = [cycle for cycle in self.cycles if not cycle.response_complete]
        self.cycles.append(self.cycle)

    def data_received(self, data: bytes) -> None:
        """Parse in pieces small enough that none can hold a head that is too large."""
        for start in range(0, len(data), MOST_HEADER_BYTES):
            if not self.transport.is_closing():
                self._take(data[start : start + MOST_HEADER_BYTES])
        if self.waiting_since and not self.transport.is_closing():
            self._queue_read()

    def _take(self, data: bytes) -> None:
        """Parse a piece; refuse a head that does not end."""
        head = self.head
        self.head_is_split = head is not None
        super().data_received(data)
        if head is not None and head is self.head:
            self.head_bytes += len(data)
            if self.head_bytes > MOST_HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response("Too many header bytes.")

    def _queue_read(self) -> None:
        """Pause until the scheduler's turn; a head and its body are no reason yet."""
        self.pieces += 1
        if self.pieces >= MANY_PIECES and not self.flow.read_paused:
            self.flow.pause_reading()
            self.dispatcher.read_scheduler.join(self)

    def resume(self) -> None:
        """Read on; uvicorn does it itself after a response that is still pending."""
        if not self.transport.is_closing() and not self.pipeline:
            self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the parser's word says less
        """Refuse what cannot be parsed; during a response, only close."""
        unfinished = self._end_cycles()
        if len(unfinished) > 1 or any(cycle.response_started for cycle in unfinished):
            self.transport.abort()
        else:
            detail = "cannot read the request: it is not HTTP/1.1, or its head is too large"
            self._end_with(Rejected("request-invalid", detail))

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel pending requests and break reference cycles."""
        self._end_cycles()
        self.dispatcher.admission.unregister(self.peer)
        super().connection_lost(exc)
        for cycle in self.cycles:
            cycle.on_response = _nothing
        self.cycles.clear()

    def _reject(self, why: Rejected) -> None:
        """Count a refusal, answer with it, and close the connection."""
        self.dispatcher.refusals.count_and_log(self.peer, why.code, why.detail)
        self._end_with(why, f"Retry-After: {why.retry_s or 1}\r\n")

    def _end_with(self, why: Rejected, more: str = "") -> None:
        """Answer with a problem document, outside of any cycle, and close the connection."""
        self.transport.write(last_reply(why, self.dispatcher.common, more))
        self.transport.close()

    def cut(self) -> None:
        """Close the connection at once."""
        self._end_cycles()
        self.transport.abort()

    def _end_cycles(self) -> list[RequestResponseCycle]:
        """Stop all writing; return the requests without a complete response."""
        unfinished = [cycle for cycle in self.cycles if not cycle.response_complete]
        for cycle in unfinished:
            cycle.disconnected = True
            cycle.message_event.set()
        self.pipeline.clear()
        return unfinished

    def on_body(self, body: bytes) -> None:
        """Keep a piece; the reader wakes at the end of the body, or when it is too large."""
        cycle = self.cycle
        if len(cycle.body) + len(body) > MOST_BODY_BYTES:
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.body += body

    def on_message_complete(self) -> None:
        """End the deadline of a request."""
        self.waiting_since = 0.0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Free a finished request's memory: most connections are idle most of the time."""
        super().on_response_complete()
        cycle, begun = self.cycle, bool(self.waiting_since)  # `cycle` may be the next request's
        if not begun and not self.pipeline and cycle is not None and cycle.response_complete:
            self.cycle = self.scope = self.headers = None  # type: ignore[assignment]
            self.cycles.clear()


class DeviceModelProtocol(BoundedHttpProtocol):
    """A connection to the device-model socket, where only device models have a role."""

    def _register(self, transport: asyncio.Transport) -> Peer:
        return self.dispatcher.admission.register_device_model(transport)


def _nothing() -> None:
    """Replace uvicorn's callback into a closed connection."""


def sweep(connections: Iterable[object], now_s: float) -> None:
    """Close connections whose request is overdue or whose client stopped reading."""
    for connection in list(connections):
        if not isinstance(connection, BoundedHttpProtocol) or connection.transport is None:
            continue
        since = connection.waiting_since
        if (since and now_s - since > REQUEST_WITHIN_S - 1) or _is_stalled(connection, now_s):
            connection.cut()


def _is_stalled(connection: BoundedHttpProtocol, now_s: float) -> bool:
    waiting = connection.transport.get_write_buffer_size()
    if waiting == 0 or waiting != connection.stalled_bytes:
        connection.stalled_bytes, connection.stalled_since = waiting, now_s
        return False
    return now_s - connection.stalled_since > READ_WITHIN_S - 1
