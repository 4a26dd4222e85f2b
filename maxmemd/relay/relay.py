"""The relay's one thread: it owns the connection to xenstored, and attends to each stub domain.

Watches carry no more than a token, so each says "look again" (A5). All that a guest can do is to
have its own domain looked at, as often as stub.py allows.
"""

import logging
import os
import select
from collections.abc import Callable
from math import inf
from pathlib import Path
from time import monotonic

from maxmemd.relay import nodes, protocol
from maxmemd.relay.requests import AnsweredRequest, RequestSender
from maxmemd.relay.stubdom import LOOK_EVERY_S, StubDomain
from maxmemd.rest.connection import DaemonConnection
from maxmemd.xen.xenstore import RECONNECT
from maxmemd.xen.xs_wire import Connection, is_answer

LOG = logging.getLogger("maxmemd.relay")
HOST = "host"
"""The token of domains that come and go; all other tokens are domids."""
AGAIN_S = 1.0
"""What xenstored refused about one domain is tried again after this."""


class Relay:
    """Serves stub domains until it is stopped. `ready` is called once, when it first waits."""

    def __init__(
        self,
        server: DaemonConnection,
        boot: str,
        *,
        xenstored: Path | None = None,
        patience_s: float = 5.0,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Take where the daemon and xenstored are; None looks for where xenstored is."""
        self._path, self._patience_s, self._ready = xenstored, patience_s, ready
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._asker = RequestSender(server, boot, self._wake)
        self._homes: dict[int, StubDomain] = {}
        self._stopping = False
        self._is_away = False

    def stop(self) -> None:
        """Have `run` return; from a signal handler or any thread."""
        self._stopping = True
        self._wake()

    def run(self) -> None:
        """Serve until `stop`; a xenstored that is away is waited for, ever more patiently."""
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
                LOG.warning("cannot use xenstored, it is tried again: %s", error)
                self._say_ready()
                self._sleep(RECONNECT.wait_s(failures))
                failures += 1

    def _serve(self, connection: Connection) -> None:
        """Serve by way of one connection. Raises OSError once it is lost."""
        for home in self._homes.values():
            home.watched.clear()
        for path in ("@introduceDomain", "@releaseDomain"):
            connection.watch(path, HOST)  # which announces itself: that is the first scan
        while not self._stopping:
            for token in connection.events(self._wake_read, self._wait_s()):
                if token == HOST:
                    self._scan(connection)
                elif token.isdigit() and int(token) in self._homes:
                    self._homes[int(token)].touch(monotonic())
            self._drain()
            for told in self._asker.told():
                self._take(told)
            self._attend_all(connection)
            self._say_ready()

    def _scan(self, connection: Connection) -> None:
        """Take note of who lives here; a watch tells when a domain is named as a stub domain."""
        here = {int(name) for name in connection.children("/local/domain") if name.isdigit()}
        for domid in self._homes.keys() - here:
            self._watch(connection, self._homes.pop(domid), set())
        for domid in here - {0}:
            home = self._homes.setdefault(domid, StubDomain(domid))
            if not home.watched:
                self._watch(connection, home, {nodes.target_node(domid)})

    def _attend_all(self, connection: Connection) -> None:
        """Attend to whoever is due, who waited longest first."""
        now_s = monotonic()
        due = [home for home in self._homes.values() if home.due_s <= now_s]
        for home in sorted(due, key=lambda home: home.due_s):
            try:
                home.rest(now_s)
                self._attend(connection, home, now_s)
            except OSError as error:
                if not is_answer(error):
                    raise
                LOG.debug("domain %d: %s", home.domid, error)
                home.due_s = now_s + AGAIN_S

    def _attend(self, connection: Connection, home: StubDomain, now_s: float) -> None:
        """Do what is next for one domain. Raises OSError."""
        seen = nodes.read_stub(connection, home.domid)
        is_new = seen.bound != home.bound
        self._follow(connection, home, seen)
        if home.bound is None:
            if seen.request is not None:
                nodes.remove_nodes(connection, home.domid)
            return
        if is_new or seen.request is None or seen.reply is None:
            nodes.make_nodes(connection, home.bound)
        if home.answer is not None:
            self._reply(connection, home)
        elif home.request is not None:
            self._ask(home, now_s)
        else:
            self._read(connection, home, seen, now_s)

    def _follow(self, connection: Connection, home: StubDomain, seen: nodes.StubState) -> None:
        """Take note of whom a domain serves, and watch what can change that."""
        if seen.bound != home.bound:
            LOG.info("%s", _told_of(home.domid, seen.bound))
        home.serve(seen.bound)
        wanted = {nodes.target_node(home.domid)}
        if seen.target is not None:
            wanted.add(nodes.model_node(seen.target))
        if seen.bound is not None:
            wanted.add(nodes.request_node(home.domid))
        self._watch(connection, home, wanted)

    def _read(
        self, connection: Connection, home: StubDomain, seen: nodes.StubState, now_s: float
    ) -> None:
        """Take up what a stub domain asks, unless it was answered or asks too often."""
        request = protocol.asked(seen.request)
        if request is None or protocol.is_answered(request, seen.reply):
            return
        wait_s = home.asks.wait_s(now_s)
        if wait_s:
            home.due_s = now_s + wait_s
        elif isinstance(request, protocol.Request):
            home.request, home.failures, home.retry_s = request, 0, 0.0
            self._ask(home, now_s)
        elif home.bound is not None:
            text = f"{request.id} {protocol.refused('request-invalid')}"
            nodes.write_reply(connection, home.bound, text)

    def _ask(self, home: StubDomain, now_s: float) -> None:
        """Have the daemon asked, unless that is under way or has to wait."""
        if home.is_out or home.bound is None or home.request is None:
            return
        if now_s < home.retry_s:
            home.due_s = home.retry_s
        elif self._asker.is_full:
            home.due_s = now_s + LOOK_EVERY_S
        else:
            home.is_out = True
            self._asker.ask(home.bound, home.request)

    def _take(self, told: AnsweredRequest) -> None:
        """Take what the daemon said; for a stub domain that is another by now it is dropped."""
        home = self._homes.get(told.bound.domid)
        if told.answer is None:
            self._say_away(told.why)
        else:
            self._is_away = False
        if home is None or (home.bound, home.request) != (told.bound, told.request):
            return
        if told.answer is None:
            home.undecided(monotonic())
        else:
            home.decided(told.answer, monotonic())

    def _reply(self, connection: Connection, home: StubDomain) -> None:
        """Write an answer, and look for the next request. Raises OSError."""
        if home.bound is not None and home.request is not None:
            text = f"{home.request.id} {home.answer}"
            nodes.write_reply(connection, home.bound, text)
        home.request, home.answer = None, None
        home.touch(monotonic())

    def _watch(self, connection: Connection, home: StubDomain, wanted: set[str]) -> None:
        for path in home.watched - wanted:
            connection.unwatch(path, str(home.domid))
        for path in wanted - home.watched:
            connection.watch(path, str(home.domid))
        home.watched = wanted

    def _wait_s(self) -> float | None:
        """Return how long nobody is due; None where nobody is until something happens."""
        soonest_s = min((home.due_s for home in self._homes.values()), default=inf)
        return None if soonest_s == inf else max(0.0, soonest_s - monotonic())

    def _say_away(self, why: str) -> None:
        """Log that the daemon cannot say; once, until it can again."""
        if not self._is_away:
            LOG.warning("a stub domain waits, the daemon is asked again: %s", why)
        self._is_away = True

    def _say_ready(self) -> None:
        ready, self._ready = self._ready, lambda: None
        ready()

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"!")
        except BlockingIOError:
            return  # it is full, so it wakes

    def _drain(self) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            return  # nothing woke us

    def _sleep(self, seconds: float) -> None:
        """Sleep until the time is over or `stop`; what was told meanwhile waits on."""
        until_s = monotonic() + seconds
        while not self._stopping and (left_s := until_s - monotonic()) > 0:
            select.select([self._wake_read], [], [], left_s)
            self._drain()


def _told_of(domid: int, bound: nodes.Bound | None) -> str:
    if bound is None:
        return f"domain {domid} is nobody's device model any more"
    return f"domain {domid} is the device model of domain {bound.target}"
