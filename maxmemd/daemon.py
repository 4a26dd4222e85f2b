"""The composition root: build the daemon from its parts, serve, reload, stop."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import uvloop

from maxmemd.api.auth.admission import AdmissionRules
from maxmemd.api.auth.token_store import TokenStore
from maxmemd.api.dispatch import Dispatcher
from maxmemd.api.event_stream import EventStream
from maxmemd.api.handlers.service import Service
from maxmemd.api.health import DiskMonitor, notify_systemd
from maxmemd.api.server.run import run
from maxmemd.api.server.tcp import listen_tcp
from maxmemd.api.server.unix import open_sockets
from maxmemd.arbiter.actor import Arbiter
from maxmemd.arbiter.mailbox import Mailbox
from maxmemd.arbiter.settings import Settings
from maxmemd.backend import Backend, SystemClock, choose_backend
from maxmemd.config.settings import Config
from maxmemd.errors import ConfigError, LedgerError
from maxmemd.ledger.follow import LedgerFollower
from maxmemd.ledger.host import check_host, mark_host
from maxmemd.ledger.lock import exclusive_lock
from maxmemd.ledger.migrate import migrate
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.systemd import Watchdog, passed_sockets

LOG = logging.getLogger("maxmemd")
CHECK_AFTER_S, CHECK_PAUSE_S = 1.0, 0.01
"""The whole chain is checked once the daemon serves, and rests every few hundred entries."""
REMOTE = ("listen", "tls_certificate", "tls_key", "tls_clients", "hosts")
FIXED = (
    "socket",
    "socket_group",
    "device_model_socket",
    "database",
    "hypervisor",
    "pusher",
    *REMOTE,
)
"""Keys that only a restart changes."""


def serve(read: Callable[[], Config], on_started: Callable[[], None] | None = None) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP reads the configuration again.

    Raises MaxmemError when it cannot start.
    """
    config = read()
    uvloop.run(serve_on(config, lambda: choose_backend(config), read, on_started))


async def serve_on(
    config: Config,
    world: Callable[[], Backend],
    reread: Callable[[], Config] | None = None,
    on_started: Callable[[], None] | None = None,
) -> None:
    """Serve the API for a world until told to stop; SIGHUP takes what `reread` returns.

    `on_started` is called once everything is set up, before the first request is served.

    Raises MaxmemError when it cannot start.
    """
    with exclusive_lock(config.database):
        sock, device_model_socket = open_sockets(passed_sockets(), config)
        remote, adapters = listen_tcp(config), world()
        check_host(config.database, simulated=adapters.simulated)
        LOG.info("%s", migrate(config.database))
        mark_host(config.database, simulated=adapters.simulated)
        service = _service(config, adapters)
        async with _arbiter_running(service, adapters):
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
                app, sock, each_second=service.each_second, on_stop=service.event_stream.close,
                remote=remote, device_model_socket=device_model_socket,
            )  # fmt: skip


@asynccontextmanager
async def _arbiter_running(service: Service, adapters: Backend) -> AsyncIterator[None]:
    """Run the arbiter's thread, and the tasks that report on it."""
    mailbox = service.mailbox
    await mailbox.start()
    adapters.pusher.watch(mailbox.thread.poll_soon)
    tasks = [
        asyncio.create_task(some) for some in (_check_ledger(service), notify_systemd(mailbox))
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await mailbox.stop()
        adapters.pusher.close()
        LOG.info("stopped; Xen's maxima stay as they are")


def settings_of(config: Config) -> Settings:
    """Return what the arbiter is to know of the configuration."""
    return Settings(
        config.rules, config.drift_rules, config.keep_gone_s, config.fights, config.by_name
    )


def _service(config: Config, adapters: Backend) -> Service:
    """Return what answers requests, and the mailbox of an arbiter that is not started yet."""

    def make_arbiter() -> Arbiter:
        return Arbiter(
            SqliteLedger(config.database),
            adapters.pusher,
            SystemClock(),
            settings_of(config),
            boot=adapters.boot,
        )

    reader, follower = LedgerReader(config.database), LedgerFollower(config.database)
    event_stream = EventStream(follower)
    alive = Watchdog().feed
    mailbox = Mailbox(make_arbiter, poll_s=config.poll_s, alive=alive, on_commit=event_stream.wake)
    disk, tokens = DiskMonitor(config.database), TokenStore(config.tokens_path)
    return Service(
        mailbox, reader, follower, event_stream, config, adapters.simulated, disk, tokens
    )


async def _check_ledger(service: Service) -> None:
    """Check every entry ever written, while the daemon serves; readiness says what came of it."""
    await asyncio.sleep(CHECK_AFTER_S)
    try:
        entries = await asyncio.to_thread(service.reader.check, pause_s=CHECK_PAUSE_S)
    except LedgerError as error:
        service.integrity = f"{error.code}: {error}"
        LOG.critical("%s", error)
    else:
        service.integrity = "ok"
        LOG.info("the history's chain of %d entries is whole", entries)


class Reload:
    """Called on SIGHUP, in the event loop's thread: takes what the configuration says now."""

    def __init__(
        self, reread: Callable[[], Config], service: Service, dispatcher: Dispatcher
    ) -> None:
        self._reread, self._service, self._dispatcher = reread, service, dispatcher

    def __call__(self) -> None:
        """Read the configuration again; one that cannot be used changes nothing.

        Open connections get their new role with the next request, and event streams of clients
        whose role changed end. Limits stay: new rules apply to new decisions.
        """
        try:
            found = self._reread()
        except ConfigError as error:
            LOG.error("the configuration stays as it was: %s", error)  # noqa: TRY400
            return
        now = self._service.config
        for name in FIXED:
            if getattr(found, name) != getattr(now, name):
                LOG.warning("%s stays %r until a restart", name, getattr(now, name))
        taken = replace(found, **{name: getattr(now, name) for name in FIXED})
        self._service.config = taken
        rules = AdmissionRules(taken.roles, taken.rates, taken.connections)
        self._dispatcher.admission.reconfigure(rules)
        self._service.event_stream.notify()
        settings = settings_of(taken)
        self._service.mailbox.reconfigure(settings, poll_s=taken.poll_s)
        LOG.info("the configuration was read again; drift is %s", taken.drift)
