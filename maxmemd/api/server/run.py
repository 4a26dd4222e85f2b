"""uvicorn on sockets that others have bound, until a signal ends it."""

import asyncio
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

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
    app: Any,
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
    server = _Server(config)
    server.stopping, server.remote, server.apart = stopping, remote, apart
    sweeper = asyncio.create_task(_sweeping(server, each_second))
    try:
        await server.serve(sockets=[sock])
    finally:
        sweeper.cancel()
        with suppress(asyncio.CancelledError):
            await sweeper


class _Server(uvicorn.Server):
    """A server that ends on a signal, and does not raise it again once it has ended."""

    stopping: Callable[[], None]
    remote: TcpListener | None
    apart: socket.socket | None
    doors: tuple[Acceptor, ...] = ()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on Unix sockets, and on TCP with TLS; all connections are counted and swept."""
        await super().startup([])
        self.doors = tuple(Acceptor(sock, self._connection) for sock in sockets or ())
        if self.apart is not None:
            self.doors += (Acceptor(self.apart, self._device_model),)
        if self.remote is not None:
            front: Dispatcher = self.config.app  # type: ignore[assignment]
            door = TlsAcceptor(self.remote, self._connection, front.gate, front.refusals)
            self.doors += (door,)

    def _connection(self) -> BoundedHttpProtocol:
        return BoundedHttpProtocol(self.config, self.server_state, self.lifespan.state)

    def _device_model(self) -> DeviceModelProtocol:
        return DeviceModelProtocol(self.config, self.server_state, self.lifespan.state)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, which have no end of their own, and then the server."""
        for door in self.doors:
            door.close()
        self.stopping()
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
