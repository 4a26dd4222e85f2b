"""uvicorn on sockets that others have bound, until a signal ends it."""

import asyncio
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn

from maxmemd.api.dispatch import Dispatcher
from maxmemd.api.server.acceptor import Acceptor
from maxmemd.api.server.protocol import (
    MOST_CONNECTIONS,
    BoundedHttpProtocol,
    DeviceModelProtocol,
    sweep,
)
from maxmemd.api.server.tcp import TcpListener
from maxmemd.api.server.tls_acceptor import TlsAcceptor

LOG = logging.getLogger("maxmemd.api")
STOP_WITHIN_S = 2


async def run(
    app: Dispatcher,
    sock: socket.socket,
    *,
    each_second: Callable[[], None],
    stopping: Callable[[], None],
    remote: TcpListener | None = None,
    apart: socket.socket | None = None,
) -> None:
    """Serve `app` on a bound socket until SIGTERM or SIGINT; `stopping` is to end its streams.

    `remote` is where clients are served over TCP as well, `apart` where device models alone are.
    """
    _make_room()
    config = uvicorn.Config(
        app,
        http=BoundedHttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=STOP_WITHIN_S,
    )
    server = _Server(config, app, stopping=stopping, remote=remote, apart=apart)
    sweeper = asyncio.create_task(_sweeping(server, each_second))
    try:
        await server.serve(sockets=[sock])
    finally:
        sweeper.cancel()
        with suppress(asyncio.CancelledError):
            await sweeper


class _Server(uvicorn.Server):
    """A server that ends on a signal, and does not raise it again once it has ended."""

    def __init__(
        self,
        config: uvicorn.Config,
        front: Dispatcher,
        *,
        stopping: Callable[[], None],
        remote: TcpListener | None,
        apart: socket.socket | None,
    ) -> None:
        super().__init__(config)
        self._front, self._stopping = front, stopping
        self._remote, self._apart = remote, apart
        self._doors: tuple[Acceptor, ...] = ()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on Unix sockets, and on TCP with TLS; all connections are counted and swept."""
        await super().startup([])
        self._doors = tuple(Acceptor(sock, self._connection) for sock in sockets or ())
        if self._apart is not None:
            self._doors += (Acceptor(self._apart, self._device_model),)
        if self._remote is not None:
            gate, refusals = self._front.gate, self._front.refusals
            door = TlsAcceptor(self._remote, self._connection, gate, refusals)
            self._doors += (door,)

    def _connection(self) -> BoundedHttpProtocol:
        return BoundedHttpProtocol(self.config, self.server_state, self.lifespan.state)

    def _device_model(self) -> DeviceModelProtocol:
        return DeviceModelProtocol(self.config, self.server_state, self.lifespan.state)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, which have no end of their own, and then the server."""
        for door in self._doors:
            door.close()
        self._stopping()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def _make_room() -> None:
    """Allow as many descriptors as the most clients need, and as SQLite and Xen need besides."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def _sweeping(server: uvicorn.Server, each_second: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(1)
        sweep(server.server_state.connections, loop.time())
        each_second()
