"""The whole daemon but its socket, in this process, on a simulated host."""

import asyncio
import json
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from maxmemd.api.auth.peers import Peer, peer
from maxmemd.api.auth.token_store import TokenStore
from maxmemd.api.dispatch import Dispatcher
from maxmemd.api.event_stream import EventStream
from maxmemd.api.handlers.service import Service
from maxmemd.api.health import DiskMonitor
from maxmemd.api.reload import settings_of
from maxmemd.arbiter.actor import Arbiter
from maxmemd.arbiter.mailbox import Mailbox
from maxmemd.backend import SystemClock
from maxmemd.config.settings import Config
from maxmemd.ledger.follow import LedgerFollower
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.pusher.local import LocalPusher
from maxmemd.units import Memory
from maxmemd.xen.simulated import SimulatedHost
from tests.support.ledgers import new_ledger

ROOT = peer(4711, 0, 0)
WITHIN_S = 20.0
T = TypeVar("T")


def small_host() -> SimulatedHost:
    """Return a host with three guests: 'web' (PV, 1), 'db' (HVM, 2) and 'a b%2F/c' (PVH, 3)."""
    host = SimulatedHost(total=Memory.of_mib(16384))
    host.create("web", memory=Memory.of_mib(512), maxmem=Memory.of_mib(1024))
    host.create("db", kind="hvm", memory=Memory.of_mib(512), maxmem=Memory.of_mib(1024))
    host.create("a b%2F/c", kind="pvh", memory=Memory.of_mib(256), maxmem=Memory.of_mib(512))
    return host


class Inside:
    """A daemon that is asked without a socket; as root unless a test says who is calling."""

    def __init__(
        self, directory: Path, host: SimulatedHost | None = None, config: Config | None = None
    ) -> None:
        self.host = small_host() if host is None else host
        self.config = replace(config or Config(), database=directory / "ledger.sqlite")
        self._peer = ROOT
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop")
        self._thread.start()
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def restart(self) -> None:
        """End the daemon and start another on the same host and the same ledger."""
        self._close()
        self._open()

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        peer: Peer = ROOT,
    ) -> httpx.Response:
        """Send one request; `body` as JSON, or `raw` as it is."""
        sent = dict(headers or {})
        content = raw if body is None else json.dumps(body).encode()
        if content is not None:
            sent.setdefault("Content-Type", "application/json")
        self._peer = replace(peer, known_by="")  # it has the role that the test gives it
        return self.wait(self.client.request(method, path, content=content, headers=sent))

    def serve(self, dispatcher: Dispatcher) -> None:
        """Have requests answered by this application from now on."""
        self.dispatcher = dispatcher

    def get(self, path: str) -> Any:
        """Return the body of a GET that must succeed."""
        reply = self.ask("GET", path)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def put(self, path: str, body: object, **headers: str) -> Any:
        """Return the body of a PUT that must be granted and in force."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = self.ask("PUT", path, body, headers=named)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the daemon's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(WITHIN_S)

    def pages(self, domid: int) -> int:
        """Return a domain's max_pages in Xen."""
        return self.host.machine.domain(domid).max_pages

    def uuid(self, domid: int) -> str:
        """Return a domain's UUID."""
        return self.host.machine.domain(domid).uuid

    def _arbiter(self) -> Arbiter:
        self._ledger = SqliteLedger(self.config.database)
        return Arbiter(
            self._ledger,
            LocalPusher(self.host.hypervisor(), self.host.xenstore()),
            SystemClock(),
            settings_of(self.config),
            boot="one-boot",
        )

    def _open(self) -> None:
        new_ledger(self.config.database)
        self._ledger: SqliteLedger | None = None
        self.mailbox = Mailbox(self._arbiter, poll_s=self.config.poll_s)
        reader = LedgerReader(self.config.database)
        tail = LedgerFollower(self.config.database)
        self.tokens = TokenStore(self.config.tokens_path)
        self.event_stream = EventStream(tail)
        poll_s, wake = self.config.poll_s, self.event_stream.wake
        self.mailbox = Mailbox(self._arbiter, poll_s=poll_s, on_commit=wake)
        self.disk = DiskMonitor(self.config.database)
        state = self.disk, self.tokens
        service = Service(self.mailbox, reader, tail, self.event_stream, self.config, True, *state)
        self.service = service
        self.serve(Dispatcher(service))
        self.wait(self.mailbox.start())

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["maxmemd.peer"] = self._peer
            await self.dispatcher(scope, receive, send)

        transport = httpx.ASGITransport(app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    def _close(self) -> None:
        self.wait(self.client.aclose())
        self.wait(self.mailbox.stop())
        if self._ledger is not None:
            self._ledger.close()


def problem(reply: httpx.Response, code: str, status: int) -> dict[str, Any]:
    """Demand a problem document with this code and status; return it."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = reply.json()
    assert (body["code"], body["status"]) == (code, status), body
    assert body["type"] == f"urn:maxmemd:problem:{code}"
    assert body["title"]
    assert body["detail"].startswith("cannot ")
    return body
