"""uvicorn's HTTP protocol with the peer's identity, and a bound on everything a client can hold.

Stock uvicorn waits for ever for a request to end, takes headers of any size, and queues any
number of pipelined requests; each is a way to stop a daemon.
"""

import asyncio
from collections.abc import Awaitable, Iterable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from maxmemd.api import problems
from maxmemd.api.asgi import Receive, Scope, Send
from maxmemd.api.auth.peers import UNKNOWN_PEER, Peer
from maxmemd.api.dispatch import Dispatcher
from maxmemd.api.problems import Rejected
from maxmemd.api.request import MOST_BODY_BYTES
from maxmemd.policy.roles import ADMIN, TOOLSTACK

MOST_HEADER_BYTES = 16 * 1024
MOST_PIPELINED = 4
MANY_PIECES = 2
"""A request that is not whole after so many pieces is read in the slow lane."""
REQUEST_WITHIN_S = 5.0
"""A request must arrive whole within this time; so must the first one of a connection."""
READ_WITHIN_S = 5.0
"""A client must take some of its answer within this time."""
MOST_CONNECTIONS = 2048
RESERVED, KEPT_FOR_ADMINS = 256, 64
"""So many of them are for admins and toolstacks, and so many of those for admins alone: whoever
takes all the others does not lock them out."""
_LEFT_BY = {ADMIN: 0, TOOLSTACK: KEPT_FOR_ADMINS}


class _WithPeer:
    """The application, told with every request who the peer of this connection is."""

    __slots__ = ("app", "peer")

    def __init__(self, app: Dispatcher, peer: Peer) -> None:
        self.app, self.peer = app, peer

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope["maxmemd.peer"] = self.peer
        return self.app(scope, receive, send)


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. What passes a bound is answered 400 and closed.

    `head` stands for the head that is being read, None between heads; `head_bytes` counts what
    came of it in pieces that neither begin nor end it: httptools keeps those to itself. `pieces`
    counts those of a request that is not whole yet.
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
        """Note who connected; refuse a connection too many, or too soon, before anything else."""
        super().connection_made(transport)
        self.cycles: list[RequestResponseCycle] = []
        self.dispatcher: Dispatcher = self.app
        self.peer = self._register(transport)
        self.app = _WithPeer(self.dispatcher, self.peer)
        self.waiting_since = self.loop.time()
        left = _LEFT_BY.get(self.peer.role.name, RESERVED)
        if len(self.connections) > MOST_CONNECTIONS - left:
            why = f"cannot serve this connection: {MOST_CONNECTIONS - left} are open, the most that"
            why += f" there may be for {self.peer.role.name}s to come in"
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
        """Start the deadline of a request; refuse the one too many that is pipelined."""
        if len(self.pipeline) >= MOST_PIPELINED:
            raise OverflowError("too many pipelined requests")
        self.head_bytes = self.pieces = 0
        self.head = object()
        self.waiting_since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin to serve, or queue, a request; refuse a head too large."""
        self.head = None
        if self.head_is_split:
            lines = sum(len(name) + len(value) + 4 for name, value in self.headers)
            if len(self.url) + lines > MOST_HEADER_BYTES:
                raise OverflowError("too many header bytes")
        super().on_headers_complete()
        self.cycles = [cycle for cycle in self.cycles if not cycle.response_complete]
        self.cycles.append(self.cycle)

    def data_received(self, data: bytes) -> None:
        """Parse what came, piece by piece, so that no piece holds too large a head."""
        for start in range(0, len(data), MOST_HEADER_BYTES):
            if not self.transport.is_closing():
                self._take(data[start : start + MOST_HEADER_BYTES])
        if self.waiting_since and not self.transport.is_closing():
            self._queue_read()

    def _take(self, data: bytes) -> None:
        """Parse a piece; refuse a line that does not end."""
        head = self.head
        self.head_is_split = head is not None
        super().data_received(data)
        if head is not None and head is self.head:
            self.head_bytes += len(data)
            if self.head_bytes > MOST_HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response("Too many header bytes.")

    def _queue_read(self) -> None:
        """Read on when its turn comes; the first pieces, a head and its body, are no reason yet."""
        self.pieces += 1
        if self.pieces >= MANY_PIECES and not self.flow.read_paused:
            self.flow.pause_reading()
            self.dispatcher.read_scheduler.join(self)

    def resume(self) -> None:
        """Read on, unless an answer comes first: then uvicorn does it."""
        if not self.transport.is_closing() and not self.pipeline:
            self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be parsed; where an answer is under way, only close."""
        unfinished = self._end_cycles()
        if len(unfinished) > 1 or any(cycle.response_started for cycle in unfinished):
            self.transport.abort()
        else:
            super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let every request of this connection know, and free it without the cyclic collector."""
        self._end_cycles()
        self.dispatcher.admission.unregister(self.peer)
        super().connection_lost(exc)
        for cycle in self.cycles:
            cycle.on_response = _nothing
        self.cycles.clear()

    def _reject(self, why: Rejected) -> None:
        """Say why a connection is not served, and close it."""
        self.dispatcher.refusals.count_and_log(self.peer, why.code, why.detail)
        status, body = problems.document(why.code, why.detail, why.numbers)
        head = (
            f"HTTP/1.1 {status} Too Many Requests\r\nContent-Type: {problems.MEDIA_TYPE.decode()}"
        )
        retry = f"Retry-After: {why.retry_s or 1}"
        head += f"\r\nContent-Length: {len(body)}\r\n{retry}\r\nConnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()

    def cut(self) -> None:
        """Close at once, whatever is under way."""
        self._end_cycles()
        self.transport.abort()

    def _end_cycles(self) -> list[RequestResponseCycle]:
        """Let nothing more be written; return the requests that were not answered whole."""
        unfinished = [cycle for cycle in self.cycles if not cycle.response_complete]
        for cycle in unfinished:
            cycle.disconnected = True
            cycle.message_event.set()
        self.pipeline.clear()
        return unfinished

    def on_body(self, body: bytes) -> None:
        """Keep a piece; who waits for the body is woken by its end, or by more than it may be."""
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
        """Keep nothing of a request that is over: most connections are idle most of the time."""
        super().on_response_complete()
        cycle, begun = self.cycle, bool(self.waiting_since)  # what is there may be of the next one
        if not begun and not self.pipeline and cycle is not None and cycle.response_complete:
            self.cycle = self.scope = self.headers = None  # type: ignore[assignment]
            self.cycles.clear()


class DeviceModelProtocol(BoundedHttpProtocol):
    """A connection over the device models' own socket: nobody else has a role there."""

    def _register(self, transport: asyncio.Transport) -> Peer:
        return self.dispatcher.admission.register_device_model(transport)


def _nothing() -> None:
    """Stand for a connection that is gone."""


def sweep(connections: Iterable[object], now_s: float) -> None:
    """Cut connections whose request, or whose reading of the answer, does not get on."""
    for connection in list(connections):
        if not isinstance(connection, BoundedHttpProtocol) or connection.transport is None:
            continue
        since = connection.waiting_since
        if (since and now_s - since > REQUEST_WITHIN_S - 1) or _stalled(connection, now_s):
            connection.cut()


def _stalled(connection: BoundedHttpProtocol, now_s: float) -> bool:
    waiting = connection.transport.get_write_buffer_size()
    if waiting == 0 or waiting != connection.stalled_bytes:
        connection.stalled_bytes, connection.stalled_since = waiting, now_s
        return False
    return now_s - connection.stalled_since > READ_WITHIN_S - 1
