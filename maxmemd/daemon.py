"""maxmemd: the composition root; the only place that chooses adapters."""

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import uvloop

from maxmemd import __version__
from maxmemd.api.auth.token_store import TokenStore
from maxmemd.api.behind import make_app
from maxmemd.api.event_stream import EventStream
from maxmemd.api.handlers.service import Service
from maxmemd.api.health import DiskMonitor, notify_systemd
from maxmemd.api.server.run import run
from maxmemd.api.server.tcp import check_usable, listen_tcp
from maxmemd.api.server.unix import open_sockets
from maxmemd.arbiter.actor import Arbiter
from maxmemd.arbiter.mailbox import Mailbox
from maxmemd.arbiter.settings import Settings
from maxmemd.backend import Backend, SystemClock, choose_backend
from maxmemd.config.file import load, location_of
from maxmemd.config.settings import Config
from maxmemd.errors import ConfigError, LedgerError, MaxmemError
from maxmemd.ledger.follow import LedgerFollower
from maxmemd.ledger.lock import become_owner_of, exclusive_lock
from maxmemd.ledger.migrate import migrate
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.parsing import Verbs
from maxmemd.reload import Reload
from maxmemd.systemd import Watchdog, passed_sockets, start_logging

LOG = logging.getLogger("maxmemd")
CHECK_AFTER_S, CHECK_PAUSE_S = 1.0, 0.01
"""The whole chain is checked once the daemon serves, and rests every few hundred lines."""


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    words = sys.argv[1:] if argv is None else argv
    arguments = _parser(words).parse_args(words)
    start_logging()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # one line for each bad request, else
    try:
        status = int(arguments.run(arguments) or 0)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter complains at exit
        return 1
    except MaxmemError as error:
        key = error.key if isinstance(error, ConfigError) else ""
        place = f" ({location_of(arguments.config, key)})" if key else ""
        print(f"maxmemd: {error}{place}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return status


def _parser(words: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="maxmemd",
        description="The single arbiter of guest memory limits on a Xen host.",
        epilog="examples:\n"
        "  maxmemd serve                              on a Xen dom0, as the service does\n"
        "  maxmemd serve --hypervisor simulated --socket /tmp/m.sock --database /tmp/m.sqlite\n"
        "  maxmemd check-config --config ./maxmemd.toml\n"
        "  maxmemd migrate                            bring the database to this version's tables\n"
        "  maxmemd relay                              let device models in stub domains ask\n"
        "  maxmemd races                              why there has to be one arbiter, explored",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"maxmemd {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, verb_of, text in (
        ("serve", serve, "run the daemon in the foreground"),
        ("check-config", check_config, "say whether the configuration can be used"),
        ("migrate", migrate_only, "migrate the database, with a backup, while the daemon is down"),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        verb.set_defaults(run=lambda arguments, run=verb_of: run(partial(_configured, arguments)))
        verb.add_argument("--config", type=Path, help="default: /etc/maxmemd/maxmemd.toml if any")
        verb.add_argument("--hypervisor", choices=("auto", "xen", "simulated"))
        verb.add_argument("--socket", type=Path, help="default: /run/maxmemd/maxmemd.sock")
        verb.add_argument("--database", type=Path, help="default: /var/lib/maxmemd/ledger.sqlite")
    if words[:1] != ["serve"]:
        _add_others(verbs)
    return parser


def _add_others(verbs: Verbs) -> None:
    """Add the verbs that do not concern the daemon, which starts faster without them."""
    from maxmemd.races import command as races
    from maxmemd.relay import main as relay

    def show_races(arguments: argparse.Namespace) -> None:
        """Print what exploring the models finds."""
        for line in races.lines(arguments):
            print(line)

    races.add_to(verbs).set_defaults(run=show_races)
    relay.add_to(verbs).set_defaults(run=relay.relay)


def _configured(arguments: argparse.Namespace) -> Config:
    config = load(arguments.config)
    asked = {name: getattr(arguments, name) for name in ("hypervisor", "socket", "database")}
    return replace(config, **{name: value for name, value in asked.items() if value is not None})


def check_config(read: Callable[[], Config]) -> None:
    """Print the configuration as the daemon can use it, whoever asks. Raises ConfigError."""
    become_owner_of(read().database.parent)
    config = read()
    check_usable(config)
    for name in Config.__slots__:
        print(f"{name} = {getattr(config, name)}")


def migrate_only(read: Callable[[], Config]) -> None:
    """Migrate the database. Raises LedgerError."""
    config = read()
    become_owner_of(config.database.parent)
    with exclusive_lock(config.database):
        print(migrate(config.database))


def serve(read: Callable[[], Config]) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP reads the configuration again.

    Raises MaxmemError when it cannot start.
    """
    config = read()
    uvloop.run(serve_on(config, lambda: choose_backend(config), read))


async def serve_on(
    config: Config, world: Callable[[], Backend], reread: Callable[[], Config] | None = None
) -> None:
    """Serve the API for a world until told to stop; SIGHUP takes what `reread` returns.

    Raises MaxmemError when it cannot start.
    """
    with exclusive_lock(config.database):
        sock, apart = open_sockets(passed_sockets(), config)
        LOG.info("%s", migrate(config.database))
        remote, adapters = listen_tcp(config), world()
        service = _service(config, adapters)
        mailbox = service.mailbox
        await mailbox.start()
        adapters.pusher.watch(mailbox.thread.poll_soon)
        tasks = [
            asyncio.create_task(some) for some in (_check_ledger(service), notify_systemd(mailbox))
        ]
        LOG.info("serving %s on %s, drift is %s", adapters.name, sock.getsockname(), config.drift)
        if apart is not None:
            LOG.info("device models have a socket of their own: %s", apart.getsockname())
        _freeze()
        try:
            app = make_app(service)
            again = Reload(reread or (lambda: config), service, app)
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, again)
            await run(
                app, sock, each_second=service.each_second, stopping=service.feed.close,
                remote=remote, apart=apart,
            )  # fmt: skip
        finally:
            for task in tasks:
                task.cancel()
            await mailbox.stop()
            adapters.pusher.close()
            LOG.info("stopped; Xen's maxima stay as they are")


def _service(config: Config, adapters: Backend) -> Service:
    """Return what answers requests, and the mailbox of an arbiter that is not started yet."""

    def make_arbiter() -> Arbiter:
        return Arbiter(
            SqliteLedger(config.database),
            adapters.pusher,
            SystemClock(),
            Settings(config.rules, config.drift, config.keep_gone_s),
            boot=adapters.boot,
        )

    mailbox = Mailbox(make_arbiter, poll_s=config.poll_s, alive=Watchdog().fed)
    reader, tail = LedgerReader(config.database), LedgerFollower(config.database)
    feed = mailbox.listener = EventStream(tail)
    disk, tokens = DiskMonitor(config.database), TokenStore(config.tokens)
    return Service(mailbox, reader, tail, feed, config, adapters.simulated, disk, tokens)


async def _check_ledger(service: Service) -> None:
    """Check every line ever written, while the daemon serves; readiness says what came of it."""
    await asyncio.sleep(CHECK_AFTER_S)
    try:
        lines = await asyncio.to_thread(service.reader.check, pause_s=CHECK_PAUSE_S)
    except LedgerError as error:
        service.integrity = f"{error.code}: {error}"
        LOG.critical("%s", error)
    else:
        service.integrity = "ok"
        LOG.info("the ledger's chain of %d lines is whole", lines)


def _freeze() -> None:
    """Take what start-up made out of the collector's sight: it was most of the p99."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 20, 1000)


if __name__ == "__main__":
    sys.exit(main())
