"""The relay's main thread: it owns the connection to xenstored, and serves each stub domain.

A watch event carries a token only, so each means "look at this domain again" (A5). The most that a
guest can cause is that its own domain is looked at, as often as stubdom.py allows.
"""

import logging
import os
import select
from collections.abc import Callable
from math import inf
from pathlib import Path
from time import monotonic

from maxmemd.relay import nodes, protocol
from maxmemd.relay.requests import RequestResult, RequestSender
from maxmemd.relay.stubdom import LOOK_EVERY_S, StubDomain
from maxmemd.xen.xenstore import RECONNECT
from maxmemd.xen.xs_wire import Connection, is_answer

LOG = logging.getLogger("maxmemd.relay")
HOST = "host"
"""The token of the watches on domains that come and go; all other tokens are domids."""
RETRY_S = 1.0
"""When to look again at a domain about which xenstored refused a request."""


class Relay:
    """Serves stub domains until it is stopped. `on_ready` is called once, when it first waits."""

    def __init__(
        self,
        socket: str,
        boot: str,
        *,
        xenstored: Path | None = None,
        patience_s: float = 5.0,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the daemon's socket and xenstored's; None searches for xenstored's."""
        self._path, self._patience_s, self._on_ready = xenstored, patience_s, on_ready
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._sender = RequestSender(socket, boot, self._wake)
        self._stubs: dict[int, StubDomain] = {}
        self._stopping = False
        self._is_away = False

    def stop(self) -> None:
        """Make `run` return. Any thread or signal handler may call."""
        self._stopping = True
        self._wake()

    def run(self) -> None:
        """Serve until `stop`; while xenstored is away, reconnect with growing pauses."""
        failures = 0
        while not self._stopping:
            try:
                connection = Connection(self._path, patience_s=self._patience_s)
                try:
                    failures = 0
                    self._serve(connection)
                finally:
                    connection.close()
            except OSError as error:
                LOG.warning("cannot use xenstored (retrying): %s", error)
                self._report_ready()  # the start of the service does not wait for xenstored
                self._sleep(RECONNECT.wait_s(failures))
                failures += 1

    def _serve(self, connection: Connection) -> None:
        """Serve on one connection. Raises OSError once it is lost."""
        for stub in self._stubs.values():
            stub.watched.clear()  # watches ended with the connection before
        for path in ("@introduceDomain", "@releaseDomain"):
            connection.watch(path, HOST)  # fires at once, which causes the first scan
        while not self._stopping:
            for token in connection.events(self._wake_read, self._wait_s()):
                if token == HOST:
                    self._scan(connection)
                elif token.isdigit() and int(token) in self._stubs:
                    self._stubs[int(token)].look_soon(monotonic())
            # Drain first: a result that arrives after take_results() then wakes the next round.
            self._drain()
            for result in self._sender.take_results():
                self._on_result(result)
            self._attend_all(connection)
            self._report_ready()

    def _scan(self, connection: Connection) -> None:
        """Update the table of domains, and watch each new one: it may become a stub domain."""
        here = {int(name) for name in connection.children("/local/domain") if name.isdigit()}
        for domid in self._stubs.keys() - here:
            self._watch(connection, self._stubs.pop(domid), set())
        for domid in here - {0}:
            stub = self._stubs.setdefault(domid, StubDomain(domid))
            if not stub.watched:
                self._watch(connection, stub, {nodes.target_node(domid)})

    def _attend_all(self, connection: Connection) -> None:
        """Attend to the domains that are due, the longest due first, so that none starves."""
        now_s = monotonic()
        due = [stub for stub in self._stubs.values() if stub.due_s <= now_s]
        for stub in sorted(due, key=lambda stub: stub.due_s):
            try:
                # Before the look: a reply that is written makes the domain due once more.
                stub.on_look(now_s)
                self._attend(connection, stub, now_s)
            except OSError as error:
                if not is_answer(error):
                    raise
                LOG.debug("domain %d: %s", stub.domid, error)
                stub.due_s = now_s + RETRY_S

    def _attend(self, connection: Connection, stub: StubDomain, now_s: float) -> None:
        """Take the next step for one domain. Raises OSError."""
        seen = nodes.read_stub(connection, stub.domid)
        is_new = seen.binding != stub.binding
        self._follow(connection, stub, seen)
        if stub.binding is None:
            if seen.request is not None:
                nodes.remove_nodes(connection, stub.domid)
            return
        if is_new or seen.request is None or seen.reply is None:
            # Also when one is missing: a stub domain can remove its request node.
            nodes.make_nodes(connection, stub.binding)
        if stub.answer is not None:
            self._reply(connection, stub)
        elif stub.request is not None:
            self._ask(stub, now_s)
        else:
            self._read(connection, stub, seen, now_s)

    def _follow(self, connection: Connection, stub: StubDomain, seen: nodes.StubState) -> None:
        """Note which domain it serves, and watch the nodes that can change that."""
        if seen.binding != stub.binding:
            LOG.info("%s", _binding_text(stub.domid, seen.binding))
        stub.bind(seen.binding)
        wanted = {nodes.target_node(stub.domid)}
        if seen.target is not None:
            wanted.add(nodes.device_model_node(seen.target))
        if seen.binding is not None:
            wanted.add(nodes.request_node(stub.domid))
        self._watch(connection, stub, wanted)

    def _read(
        self, connection: Connection, stub: StubDomain, seen: nodes.StubState, now_s: float
    ) -> None:
        """Take up a new request, unless it was answered or the domain asks too often."""
        request = protocol.parse_request(seen.request)
        if request is None or protocol.is_answered(request, seen.reply):
            return
        wait_s = stub.rate.wait_s(now_s)
        if wait_s:
            stub.due_s = now_s + wait_s
        elif isinstance(request, protocol.Request):
            stub.request, stub.failures, stub.retry_s = request, 0, 0.0
            self._ask(stub, now_s)
        elif stub.binding is not None:
            text = f"{request.id} {protocol.format_refused('request-invalid')}"
            nodes.write_reply(connection, stub.binding, text)

    def _ask(self, stub: StubDomain, now_s: float) -> None:
        """Send the request to the daemon, unless it is being sent or has to wait."""
        if stub.is_asking or stub.binding is None or stub.request is None:
            return
        if now_s < stub.retry_s:
            stub.due_s = stub.retry_s
        elif self._sender.is_full:
            stub.due_s = now_s + LOOK_EVERY_S
        else:
            stub.is_asking = True
            self._sender.send(stub.binding, stub.request)

    def _on_result(self, result: RequestResult) -> None:
        """Pass a result to its stub domain; drop it if domain or request is another one now."""
        stub = self._stubs.get(result.binding.domid)
        if result.answer is None:
            self._log_away(result.reason)
        else:
            self._is_away = False
        if stub is None or (stub.binding, stub.request) != (result.binding, result.request):
            return
        if result.answer is None:
            stub.on_no_answer(monotonic())
        else:
            stub.on_answer(result.answer, monotonic())

    def _reply(self, connection: Connection, stub: StubDomain) -> None:
        """Write the answer, and look for the next request. Raises OSError."""
        if stub.binding is not None and stub.request is not None:
            text = f"{stub.request.id} {stub.answer}"
            nodes.write_reply(connection, stub.binding, text)
        stub.request, stub.answer = None, None
        stub.look_soon(monotonic())

    def _watch(self, connection: Connection, stub: StubDomain, wanted: set[str]) -> None:
        for path in stub.watched - wanted:
            connection.unwatch(path, str(stub.domid))
        for path in wanted - stub.watched:
            connection.watch(path, str(stub.domid))
        stub.watched = wanted

    def _wait_s(self) -> float | None:
        """Return the time until a domain is due; None if none is until something happens."""
        soonest_s = min((stub.due_s for stub in self._stubs.values()), default=inf)
        return None if soonest_s == inf else max(0.0, soonest_s - monotonic())

    def _log_away(self, reason: str) -> None:
        """Log the first of several results without an answer."""
        if not self._is_away:
            LOG.warning("cannot answer a stub domain yet (retrying): %s", reason)
        self._is_away = True

    def _report_ready(self) -> None:
        on_ready, self._on_ready = self._on_ready, lambda: None
        on_ready()

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"!")
        except BlockingIOError:
            return  # the pipe is full, so the thread will wake

    def _drain(self) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            return  # the pipe is empty

    def _sleep(self, seconds: float) -> None:
        """Sleep for this time or until `stop`; results that arrive meanwhile stay in the queue."""
        until_s = monotonic() + seconds
        while not self._stopping and (left_s := until_s - monotonic()) > 0:
            select.select([self._wake_read], [], [], left_s)
            self._drain()


def _binding_text(domid: int, binding: nodes.Binding | None) -> str:
    if binding is None:
        return f"domain {domid} is no longer a device model"
    return f"domain {domid} is the device model of domain {binding.target}"
