"""Run uvicorn on sockets that are already bound, until a signal."""

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
STOP_WITHIN_S = 1
"""How long answers in flight may take after a signal. What is left of systemd's patience is for
notes and the ledger."""


async def run(
    app: Dispatcher,
    sock: socket.socket,
    *,
    each_second: Callable[[], None],
    on_stop: Callable[[], None],
    remote: TcpListener | None = None,
    device_model_socket: socket.socket | None = None,
) -> None:
    """Serve `app` on a bound socket until SIGTERM or SIGINT; `on_stop` is to end its streams.

    `remote` serves clients over TCP, `device_model_socket` device models only.
    """
    _raise_descriptor_limit()
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
    server = _Server(
        config, app, on_stop=on_stop, remote=remote, device_model_socket=device_model_socket
    )
    sweeper = asyncio.create_task(_sweep_each_second(server, each_second))
    try:
        await server.serve(sockets=[sock])
    finally:
        sweeper.cancel()
        with suppress(asyncio.CancelledError):
            await sweeper


class _Server(uvicorn.Server):
    """A server that stops on a signal and does not raise it again afterwards."""

    def __init__(
        self,
        config: uvicorn.Config,
        dispatcher: Dispatcher,
        *,
        on_stop: Callable[[], None],
        remote: TcpListener | None,
        device_model_socket: socket.socket | None,
    ) -> None:
        super().__init__(config)
        self._dispatcher, self._on_stop = dispatcher, on_stop
        self._remote, self._device_model_socket = remote, device_model_socket
        self._acceptors: tuple[Acceptor, ...] = ()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on the Unix sockets, and on TCP with TLS."""
        await super().startup([])
        self._acceptors = tuple(Acceptor(sock, self._connection) for sock in sockets or ())
        if self._device_model_socket is not None:
            self._acceptors += (Acceptor(self._device_model_socket, self._device_model),)
        if self._remote is not None:
            admission, refusals = self._dispatcher.admission, self._dispatcher.refusals
            common = self._dispatcher.common
            acceptor = TlsAcceptor(self._remote, self._connection, admission, refusals, common)
            self._acceptors += (acceptor,)

    def _connection(self) -> BoundedHttpProtocol:
        return BoundedHttpProtocol(self.config, self.server_state, self.lifespan.state)

    def _device_model(self) -> DeviceModelProtocol:
        return DeviceModelProtocol(self.config, self.server_state, self.lifespan.state)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, which would never end on their own, and then the server."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._on_stop()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def _raise_descriptor_limit() -> None:
    """Raise RLIMIT_NOFILE to cover MOST_CONNECTIONS, each with its process, and all else."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_CONNECTIONS + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def _sweep_each_second(server: uvicorn.Server, each_second: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(1)
        sweep(server.server_state.connections, loop.time())
        each_second()
