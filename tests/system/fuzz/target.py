"""One connection of bytes through guard, httptools, front, call, handlers and arbiter; no socket.

All of it is the product's but the transport, the arbiter's thread, which is this one, the journal,
which is in memory, and time, which stands still. So an input does the same each time, and leaves
nothing behind: each has a new host.
"""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from maxmemd.api.auth.token_store import TokenStore
from maxmemd.api.auth.user_names import USER_NAMES, name_of
from maxmemd.api.dispatch import Dispatcher
from maxmemd.api.event_stream import EventStream
from maxmemd.api.handlers.service import Service
from maxmemd.api.health import DiskMonitor
from maxmemd.api.server.protocol import BoundedHttpProtocol
from maxmemd.api.server.slow_readers import EACH_S
from maxmemd.arbiter.actor import Arbiter
from maxmemd.arbiter.mailbox import Mailbox
from maxmemd.arbiter.settings import Settings
from maxmemd.config.identities import Identity
from maxmemd.config.settings import Config
from maxmemd.ledger.follow import LedgerFollower
from maxmemd.ledger.reader import LedgerReader
from maxmemd.policy.drift import DriftRules
from maxmemd.pusher.local import LocalPusher
from tests.support.fakes import FakeClock, MemoryLedger
from tests.support.inside import small_host
from tests.support.ledgers import new_ledger
from tests.system.fuzz.answers import Broken, read_answers
from tests.system.fuzz.still import Loop, Prompt, PromptPools, Transport

BASE = 300_000
UIDS = (0, 1001, BASE + 1, 1003, 65534)
"""An admin, a toolstack, the device model of 'web', an observer, and nobody."""
READERS = UIDS[3:]
"""Who can change nothing."""
CONFIG = Config(
    toolstacks=(Identity("uid", 1001),),
    device_model_base=BASE,
    rates={},
    connections={},
    poll_s=1e6,
)


class Target:
    """The daemon, and one connection at a time."""

    def __init__(self) -> None:
        self._directory = TemporaryDirectory(prefix="maxmemd-fuzz-")
        config = replace(CONFIG, database=Path(self._directory.name) / "ledger.sqlite")
        new_ledger(config.database)
        self._loop = Loop()
        self._service = self._make_service(config)
        for uid in UIDS:  # so that nothing is looked up in another thread
            USER_NAMES.keep(uid, name_of(uid))
        self.dispatcher = Dispatcher(self._service)
        self._state = ServerState()
        self._http = uvicorn.Config(
            self.dispatcher, http=Watched, ws="none", lifespan="off", log_config=None,
            access_log=False, proxy_headers=False, server_header=False, date_header=False,
        )  # fmt: skip
        self._http.load()
        self._faults = Faults()
        self._loop.set_exception_handler(lambda _, context: self._faults.note(str(context)))
        logging.getLogger().addHandler(self._faults)

    def close(self) -> None:
        """Give everything back."""
        logging.getLogger().removeHandler(self._faults)
        self._loop.close()
        self._directory.cleanup()

    def give(self, data: bytes) -> list[int]:
        """Play one input and return the statuses of its answers. Raises Broken.

        Its first byte says who is calling, its second how large the pieces are that come at once.
        """
        uid = UIDS[(data[0] if data else 0) % len(UIDS)]
        ledger = self._new_host()
        before = dict(ledger.heads)
        transport = Transport(uid)
        connection = Watched(self._http, self._state, {}, self._loop)
        self._loop.step(lambda: connection.connection_made(transport))
        for piece in pieces(data[2:], data[1] if len(data) > 1 else 0):
            if not transport.reading:
                self._loop.step(lambda: None, after_s=EACH_S)
            if transport.is_closing() or not transport.reading:
                break
            self._loop.step(lambda piece=piece: connection.data_received(piece))  # type: ignore[misc]
        self._demand_no_fault()
        statuses = read_answers(transport, connection.methods)
        self._loop.step(lambda: connection.connection_lost(None))
        self._loop.step(lambda: None, after_s=60.0)
        self._demand_nothing_left()
        if uid in READERS and ledger.heads != before:
            raise Broken(f"uid {uid} has changed something")
        return statuses

    def _make_service(self, config: Config) -> Service:
        tail = LedgerFollower(config.database)
        disk, tokens = DiskMonitor(config.database), TokenStore(config.tokens_path)
        mailbox = Mailbox(partial(self._arbiter, MemoryLedger()), poll_s=config.poll_s)
        reader = LedgerReader(config.database)
        stream, reads = EventStream(tail), PromptPools()
        return Service(mailbox, reader, tail, stream, config, True, disk, tokens, reads=reads)

    def _arbiter(self, ledger: MemoryLedger) -> Arbiter:
        host = small_host()
        return Arbiter(
            ledger,
            LocalPusher(host.hypervisor(), host.xenstore()),
            FakeClock(),
            Settings(CONFIG.rules, DriftRules()),
            boot="one-boot",
        )

    def _new_host(self) -> MemoryLedger:
        """Put an arbiter of a new host in the old one's seat; forget tokens and clients."""
        ledger = MemoryLedger()
        service = self._service
        make, poll_s = partial(self._arbiter, ledger), service.config.poll_s
        mailbox = service.mailbox = Mailbox(make, poll_s=poll_s)
        mailbox.thread = Prompt(
            make, mailbox, poll_s=poll_s, alive=lambda: None, monotonic_s=lambda: 0.0
        )
        mailbox.listener = service.event_stream
        self._loop.run_until_complete(mailbox.start())
        if service.config.tokens_path.exists():
            service.config.tokens_path.unlink()
            service.tokens = TokenStore(service.config.tokens_path)
        service.share_answers()
        self._faults.found.clear()
        return ledger

    def _demand_no_fault(self) -> None:
        if self._faults.found:
            raise Broken("\n".join(self._faults.found))

    def _demand_nothing_left(self) -> None:
        self._demand_no_fault()
        left = {
            "a task": asyncio.all_tasks(self._loop),
            "a count of connections": self.dispatcher.admission._open,
            "a connection": self._state.connections,
            "a stream": self._service.event_stream.streams,
        }
        for what, found in left.items():
            if found:
                raise Broken(f"{what} is left behind: {found}")


class Watched(BoundedHttpProtocol):
    """The guard, with the methods of what it has taken as requests: HEAD has no body."""

    def __init__(self, *made_of: Any) -> None:
        super().__init__(*made_of)
        self.methods: list[bytes] = []

    def on_headers_complete(self) -> None:
        """Serve a request, and note its method where it is served."""
        super().on_headers_complete()
        self.methods.append(self.parser.get_method())


class Faults(logging.Handler):
    """What was logged as an error, or with an exception, and what the event loop caught."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what no client may bring about."""
        if record.levelno >= logging.ERROR or record.exc_info:
            self.note(logging.Formatter().format(record))

    def note(self, what: str) -> None:
        """Keep one."""
        self.found.append(what)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Yield the bytes as they come: all at once for 0, one by one, or in larger pieces."""
    size = len(data) if size == 0 else size if size < 16 else size * 64
    for start in range(0, len(data), size or 1):
        yield data[start : start + size]
