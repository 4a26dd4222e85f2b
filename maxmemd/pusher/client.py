"""The Pusher of ports.py over a socket: one message for each look, one for each batch of orders."""

import errno
import socket
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from time import monotonic
from typing import Protocol

from maxmemd.errors import HypervisorError, XenstoreError
from maxmemd.pacing import Backoff
from maxmemd.policy.facts import HostFacts, StoreFacts, XenFacts
from maxmemd.policy.orders import Order, Outcome
from maxmemd.ports import LookResult
from maxmemd.pusher import protocol
from maxmemd.pusher.protocol import Json

REPLY_WITHIN_S = 8.0
"""How long a reply may take: longer than the pusher's own watchdog, shorter than the daemon's."""
START_WITHIN_S = 60.0
"""How long the pusher may take to start: it loads Python, and a booting dom0 is busy."""
SHORTEST_TIMEOUT_S = 0.05
RECONNECT = Backoff(0.2, 5.0)
_REACH = "reach the pusher (systemctl status maxmemd-pusher)"


class Connector(Protocol):
    """Connects to the pusher."""

    def connect(self) -> socket.socket:
        """Return a new connection. Any thread may call. Raises OSError."""
        ...

    def close(self) -> None:
        """Release what is needed for connecting."""
        ...


class PusherClient:
    """The Pusher of ports.py, in another process.

    `on_failed_attempt` is called after each attempt that got no reply. One request may make two
    attempts, which together take longer than a watchdog allows for one step.
    """

    def __init__(
        self,
        connector: Connector,
        *,
        patience_s: float = REPLY_WITHIN_S,
        on_failed_attempt: Callable[[], None] = lambda: None,
    ) -> None:
        self._connector, self._patience_s = connector, patience_s
        self._on_failed_attempt = on_failed_attempt
        self._connection: socket.socket | None = None
        self._watch_connection: socket.socket | None = None
        self._watcher: threading.Thread | None = None
        self._closed = threading.Event()
        self._given_up = threading.Event()

    def wait_until_ready(self) -> HostFacts:
        """Return the host's totals, with the patience that a starting pusher needs.

        Raises HypervisorError.
        """
        patience_s = max(self._patience_s, START_WITHIN_S)
        return protocol.host_from_json(self._ask("host", patience_s=patience_s))

    def domains(self) -> Sequence[XenFacts]:
        """Return every domain by rising domid."""
        return list(map(XenFacts._make, self._ask("domains")))

    def domain(self, domid: int) -> XenFacts:
        """Return one domain."""
        return XenFacts(*self._ask("domain", domid))

    def host(self) -> HostFacts:
        """Return the host's totals."""
        return protocol.host_from_json(self._ask("host"))

    def facts(self, domid: int) -> StoreFacts:
        """Return a domain's facts from xenstore. Raises XenstoreError."""
        try:
            return protocol.store_from_json(self._ask("facts", domid))
        except HypervisorError as error:
            raise XenstoreError(error.what, error.errno) from error

    def look(self, domids: Sequence[int], *, stores: Collection[int]) -> Sequence[LookResult]:
        """Look at several domains; without a reply every result is the error."""
        try:
            replies = self._ask("look", domids, list(stores))
        except HypervisorError as error:
            return [LookResult(error, None) for _ in domids]
        return [protocol.look_result_from_json(payload) for payload in replies]

    def push(self, orders: Sequence[Order]) -> Sequence[Outcome]:
        """Carry out several orders; without a reply all of them have failed."""
        if not orders:
            return []
        try:
            replies = self._ask("push", [protocol.order_to_json(order) for order in orders])
        except HypervisorError as error:
            return [Outcome(None, errno=error.errno, error=str(error)) for _ in orders]
        return [protocol.outcome_from_json(payload) for payload in replies]

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` from a thread, now and when domains may have come or gone."""
        self._watcher = threading.Thread(
            target=self._watch, args=[on_change], name="pusher-watch", daemon=True
        )
        self._watcher.start()

    def give_up(self) -> None:
        """Let the request that waits for the pusher fail now, and all later ones. Any thread."""
        # First the event, then the socket: a request that connects in between sees the event.
        self._given_up.set()
        _shut_down(self._connection)

    def close(self) -> None:
        """End the watch, close the connection and the connector."""
        # First the event, then the socket: a watcher that connects in between sees the event and
        # does not block in recv().
        self._closed.set()
        _shut_down(self._watch_connection)
        if self._watcher is not None:
            self._watcher.join()
        self._disconnect()
        self._connector.close()

    def _ask(self, *request: object, patience_s: float | None = None) -> Json:
        """Send one request and return its reply; retry once on a new connection if it was lost.

        Sending twice is safe: requests set values and add nothing. Both attempts share one
        deadline. Raises the error that the reply names, or HypervisorError without a reply.
        """
        deadline_s = monotonic() + (self._patience_s if patience_s is None else patience_s)
        try:
            try:
                reply = self._exchange(request, deadline_s)
            except ConnectionError:  # the pusher may have been restarted since the last request
                self._disconnect()
                self._on_failed_attempt()
                reply = self._exchange(request, deadline_s)
        except (OSError, protocol.Malformed) as error:
            self._disconnect()  # a late reply must not be taken for the next request's
            self._on_failed_attempt()
            number = getattr(error, "errno", None) or errno.ECONNRESET
            number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else number
            raise HypervisorError(_REACH, None, number) from error
        if "error" in reply:
            raise protocol.error_from_json(reply["error"])
        return reply["ok"]

    def _exchange(self, request: Sequence[object], deadline_s: float) -> Json:
        if self._connection is None:
            self._connection = self._connect(deadline_s)
        if self._given_up.is_set():
            raise ConnectionAbortedError(errno.ECONNABORTED, "maxmemd stops")
        self._connection.settimeout(max(SHORTEST_TIMEOUT_S, deadline_s - monotonic()))
        protocol.send(self._connection, request)
        return protocol.receive(self._connection)

    def _connect(self, deadline_s: float) -> socket.socket:
        """Return a connection, as soon as the pusher has room for one. Raises OSError."""
        while True:
            try:
                return self._connector.connect()
            except BlockingIOError:
                if self._given_up.is_set() or monotonic() > deadline_s:
                    raise

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _watch(self, on_change: Callable[[], None]) -> None:
        """Watch until closed; while the pusher is away, reconnect with growing pauses."""
        failures = 0
        while not self._closed.is_set():
            with suppress(OSError):
                self._watch_connection = self._connector.connect()
                with self._watch_connection as connection:
                    protocol.send(connection, ["watch"])
                    while not self._closed.is_set() and connection.recv(4096):
                        failures = 0
                        on_change()
            self._closed.wait(RECONNECT.wait_s(failures))
            failures += 1


def _shut_down(connection: socket.socket | None) -> None:
    """Wake a thread that waits on a connection."""
    if connection is not None:
        with suppress(OSError):  # it is closed already
            connection.shutdown(socket.SHUT_RDWR)
