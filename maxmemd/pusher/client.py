"""The way to Xen through the process that pushes: one message to look, one to push."""

import errno
import socket
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol

from maxmemd.errors import HypervisorError, XenstoreError
from maxmemd.pacing import Backoff
from maxmemd.policy.facts import HostFacts, StoreFacts, XenFacts
from maxmemd.policy.orders import Order, Outcome
from maxmemd.ports import LookResult
from maxmemd.pusher import protocol

PATIENCE_S = 8.0
"""How long an answer may take: longer than the pusher's own watchdog, shorter than ours."""
START_WITHIN_S = 60.0
"""How long it may take to start: it is Python, and a dom0 that boots is busy."""
LEAST_S = 0.05
RECONNECT = Backoff(0.2, 5.0)
_REACH = "reach the process that pushes (systemctl status maxmemd-pusher)"


class Connector(Protocol):
    """How that process is reached."""

    def connect(self) -> socket.socket:
        """Return a new connection. Any thread may call. Raises OSError."""
        ...

    def close(self) -> None:
        """Need it no more."""
        ...


class PusherClient:
    """The Pusher of ports.py, in another process.

    `alive` is called when a wait for it has ended without an answer: several may follow each other,
    and who waits is not stuck.
    """

    def __init__(
        self,
        way: Connector,
        *,
        patience_s: float = PATIENCE_S,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._way, self._patience_s, self._alive = way, patience_s, alive
        self._connection: socket.socket | None = None
        self._watched: socket.socket | None = None
        self._watcher: threading.Thread | None = None
        self._closed = threading.Event()

    def meet(self) -> HostFacts:
        """Ask for the host's totals for the first time: the other process may have to start yet.

        Raises HypervisorError.
        """
        usual_s, self._patience_s = self._patience_s, max(self._patience_s, START_WITHIN_S)
        try:
            return self.host()
        finally:
            self._patience_s = usual_s

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
        """Return what xenstore says of a domain. Raises XenstoreError."""
        try:
            return protocol.store_from_json(self._ask("facts", domid))
        except HypervisorError as error:
            raise XenstoreError(error.what, error.errno) from error

    def look(self, domids: Sequence[int], *, stores: Collection[int]) -> Sequence[LookResult]:
        """Look at several domains; where nobody answers, that is what each look shows."""
        try:
            return [
                protocol.looked_from_json(words)
                for words in self._ask("look", domids, list(stores))
            ]
        except HypervisorError as error:
            return [LookResult(error, None) for _ in domids]

    def push(self, orders: Sequence[Order]) -> Sequence[Outcome]:
        """Carry out several orders; where nobody answers, all of them have failed."""
        if not orders:
            return []
        try:
            done = self._ask("push", [protocol.order_to_json(order) for order in orders])
        except HypervisorError as error:
            return [Outcome(None, errno=error.errno, error=str(error)) for _ in orders]
        return [protocol.outcome_from_json(words) for words in done]

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` from a thread, now and when domains may have come or gone."""
        self._watcher = threading.Thread(
            target=self._watch, args=[changed], name="pusher-watch", daemon=True
        )
        self._watcher.start()

    def close(self) -> None:
        """End the watch and the connection, and give up the way."""
        self._closed.set()
        watched = self._watched
        if watched is not None:
            with suppress(OSError):  # it was ended by the other side
                watched.shutdown(socket.SHUT_RDWR)
        if self._watcher is not None:
            self._watcher.join()
        self._drop()
        self._way.close()

    def _ask(self, *message: object) -> Any:
        """Send one message and return its answer; a connection that proves lost is made anew, once.

        What is asked may be asked twice: it sets values, and adds nothing. Both together have the
        patience of one. Raises what the answer says, or HypervisorError where there is none.
        """
        end_s = monotonic() + self._patience_s
        try:
            try:
                answer = self._exchange(message, end_s)
            except ConnectionError:
                self._drop()
                self._alive()
                answer = self._exchange(message, end_s)
        except (OSError, protocol.Malformed) as error:
            self._drop()
            self._alive()
            number = getattr(error, "errno", None) or errno.ECONNRESET
            number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else number
            raise HypervisorError(_REACH, None, number) from error
        if "error" in answer:
            raise protocol.error_from_json(answer["error"])
        return answer["ok"]

    def _exchange(self, message: Sequence[object], end_s: float) -> Any:
        if self._connection is None:
            self._connection = self._way.connect()
        self._connection.settimeout(max(LEAST_S, end_s - monotonic()))
        protocol.send(self._connection, message)
        return protocol.receive(self._connection)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _watch(self, changed: Callable[[], None]) -> None:
        """Watch until closed; connect again, ever more slowly, while nobody is there."""
        failures = 0
        while not self._closed.is_set():
            with suppress(OSError):
                self._watched = self._way.connect()
                with self._watched as connection:
                    protocol.send(connection, ["watch"])
                    while not self._closed.is_set() and connection.recv(4096):
                        failures = 0
                        changed()
            self._closed.wait(RECONNECT.wait_s(failures))
            failures += 1
