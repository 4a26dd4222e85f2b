"""The composition root: build the daemon from its parts, serve, stop."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import uvloop

from maxmemd.api.auth.token_store import TokenStore
from maxmemd.api.dispatch import Dispatcher
from maxmemd.api.event_stream import EventStream
from maxmemd.api.handlers.service import Service
from maxmemd.api.health import DiskMonitor, notify_systemd
from maxmemd.api.loop_watch import LoopWatch
from maxmemd.api.reload import Reload, settings_of
from maxmemd.api.server.run import run
from maxmemd.api.server.tcp import listen_tcp
from maxmemd.api.server.unix import open_sockets
from maxmemd.arbiter.actor import Arbiter
from maxmemd.arbiter.mailbox import Mailbox
from maxmemd.backend import Backend, SystemClock, choose_backend
from maxmemd.config.settings import Config
from maxmemd.errors import LedgerCorrupt, LedgerError
from maxmemd.ledger.follow import LedgerFollower
from maxmemd.ledger.host import check_host, mark_host
from maxmemd.ledger.lock import exclusive_lock
from maxmemd.ledger.migrate import migrate
from maxmemd.ledger.place import Place
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.systemd import Watchdog, passed_sockets

LOG = logging.getLogger("maxmemd")
CHECK_AFTER_S, CHECK_PAUSE_S = 1.0, 0.01
"""The whole chain is checked once the daemon serves, and rests every few hundred entries."""
CHECK_AGAIN_S = 30.0
"""The pause before it is checked again, where it could not be read."""
GIVE_UP_AFTER_S = 0.5
"""After a signal, a request that waits for the pusher has this long. What was decided is recorded,
its client is still answered, and the next start pushes it."""


def serve(read: Callable[[], Config], on_started: Callable[[], None] | None = None) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP reads the configuration again.

    Raises MaxmemError when it cannot start.
    """
    config, watch = read(), LoopWatch()
    run_to_the_end(
        serve_on(config, lambda: choose_backend(config, watch.is_well), read, on_started, watch)
    )


def run_to_the_end(serving: Coroutine[Any, Any, None]) -> NoReturn:
    """Serve until stopped, and then end this process. Raises MaxmemError when it cannot start."""

    async def serve_and_exit() -> NoReturn:
        await serving
        # Everything is closed. To close the loop would wait for the threads of its pool, which may
        # still read, or hang in a look at the disk or at the name service, for no client.
        logging.shutdown()
        os._exit(0)

    uvloop.run(serve_and_exit())


async def serve_on(
    config: Config,
    world: Callable[[], Backend],
    reread: Callable[[], Config] | None = None,
    on_started: Callable[[], None] | None = None,
    watch: LoopWatch | None = None,
) -> None:
    """Serve the API for a world until told to stop; SIGHUP takes what `reread` returns.

    `on_started` is called once everything is set up, before the first request is served; `watch`
    watches the event loop.

    Raises MaxmemError when it cannot start.
    """
    with exclusive_lock(config.database):
        sock, device_model_socket = open_sockets(passed_sockets(), config)
        remote, adapters = listen_tcp(config), world()
        check_host(config.database, simulated=adapters.simulated)
        LOG.info("%s", migrate(config.database))
        mark_host(config.database, simulated=adapters.simulated)
        service = _service(config, adapters, watch or LoopWatch())
        async with _arbiter_running(service, adapters) as tasks:
            LOG.info(
                "serving %s on %s, drift is %s", adapters.name, sock.getsockname(), config.drift
            )
            if device_model_socket is not None:
                LOG.info("serving device models on %s", device_model_socket.getsockname())
            if on_started is not None:
                on_started()
            app = Dispatcher(service)
            again = Reload(reread or (lambda: config), service, app)
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, again)
            await run(
                app, sock, each_second=service.each_second,
                on_stop=lambda: _begin_to_stop(service, adapters, tasks),
                remote=remote, device_model_socket=device_model_socket,
            )  # fmt: skip


def _begin_to_stop(
    service: Service, adapters: Backend, tasks: Sequence[asyncio.Task[None]]
) -> None:
    """End what would not end by itself, and soon what waits for the pusher."""
    for task in tasks:
        task.cancel()
    service.on_stop()
    asyncio.get_running_loop().call_later(GIVE_UP_AFTER_S, adapters.pusher.give_up)


@asynccontextmanager
async def _arbiter_running(
    service: Service, adapters: Backend
) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
    """Run the arbiter's thread, and the tasks that report on it, which are given."""
    mailbox, watch = service.mailbox, service.loop_watch
    await mailbox.start()
    watch.start()
    adapters.pusher.watch(mailbox.thread.poll_soon)
    host = "the simulated host" if service.simulated else "Xen"
    notifying = notify_systemd(mailbox, host=host)
    tasks = [asyncio.create_task(some) for some in (_check_ledger(service), notifying)]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await mailbox.stop()
        watch.stop()
        adapters.pusher.close()
        LOG.info("stopped; Xen's maxima stay as they are")


def _service(config: Config, adapters: Backend, watch: LoopWatch) -> Service:
    """Return what answers requests, and the mailbox of an arbiter that is not started yet."""
    place = Place()

    def make_arbiter() -> Arbiter:
        return Arbiter(
            SqliteLedger(config.database, place=place),
            adapters.pusher,
            SystemClock(),
            settings_of(config),
            boot=adapters.boot,
        )

    reader, follower = LedgerReader(config.database, place), LedgerFollower(config.database, place)
    event_stream = EventStream(follower)
    alive = Watchdog(watch.is_well).feed
    mailbox = Mailbox(make_arbiter, poll_s=config.poll_s, alive=alive, on_commit=event_stream.wake)
    disk, tokens = DiskMonitor(config.database), TokenStore(config.tokens_path)
    return Service(
        mailbox, reader, follower, event_stream, config, adapters.simulated, disk, tokens,
        loop_watch=watch,
    )  # fmt: skip


async def _check_ledger(service: Service) -> None:
    """Check every entry ever written, while the daemon serves; readiness says what came of it."""
    await asyncio.sleep(CHECK_AFTER_S)
    while True:
        try:
            entries = await asyncio.to_thread(service.reader.check, pause_s=CHECK_PAUSE_S)
            anchor = await asyncio.to_thread(service.reader.anchor)
        except LedgerError as error:
            service.integrity = f"{error.code}: {error}"
            LOG.critical("%s", error)
            if isinstance(error, LedgerCorrupt):
                return
            await asyncio.sleep(CHECK_AGAIN_S)  # it may be over by then, and says nothing of damage
        else:
            break
    service.integrity, service.proved = "ok", f"proved {anchor}"
    LOG.info("the history's chain up to entry %d is whole, %s", entries, anchor)
    service.mailbox.thread.call_soon(lambda arbiter: arbiter.pruning.allow())
