"""The program maxmemd-pusher: its options, and the handles it opens."""

import argparse
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from maxmemd import __version__
from maxmemd.config.file import load
from maxmemd.errors import ConfigError, MaxmemError
from maxmemd.ports import Pusher
from maxmemd.pusher.server import MESSAGE_WITHIN_S, PusherServer
from maxmemd.rest.output import Printing, run_program
from maxmemd.systemd import notify, passed_sockets, start_logging
from maxmemd.units import Memory

LOG = logging.getLogger("maxmemd.pusher")


def open_xen() -> Pusher:
    """Open the handles of Xen and xenstore. Raises HypervisorError."""
    from maxmemd.pusher.local import LocalPusher
    from maxmemd.xen.xencall import Xencall
    from maxmemd.xen.xenstore import Xenstored

    return LocalPusher(Xencall(), Xenstored(patience_s=MESSAGE_WITHIN_S))


def main(argv: Sequence[str] | None = None, open_pusher: Callable[[], Pusher] = open_xen) -> int:
    """Serve until the parent or systemd ends it; return the exit status."""
    return run_program(lambda: _run(argv, open_pusher), "maxmemd-pusher")


def _run(argv: Sequence[str] | None, open_pusher: Callable[[], Pusher]) -> int:
    parser = argparse.ArgumentParser(
        prog="maxmemd-pusher",
        description="Set the limits that maxmemd decided: the only process with a handle of Xen.",
        epilog="Started by systemd (maxmemd-pusher.service), otherwise by maxmemd serve. Of the"
        " configuration it reads dom0_floor only.",
    )
    parser.add_argument("--version", action="version", version=f"maxmemd {__version__}")
    parser.add_argument("--config", type=Path, help="default: /etc/maxmemd/maxmemd.toml if any")
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--dom0-floor-kib", type=int, help=argparse.SUPPRESS)
    with Printing():
        arguments = parser.parse_args(argv)
    start_logging()
    try:
        kib = arguments.dom0_floor_kib
        floor = load(arguments.config).dom0_floor if kib is None else Memory(kib=kib)
        listener = _listener(arguments.fd)
    except MaxmemError as error:
        LOG.critical("%s", error)
        return 2
    server = PusherServer(listener, open_pusher, floor)
    notify("READY=1")
    try:
        server.serve(until=None if arguments.fd is None else sys.stdin.fileno())
    finally:
        server.close()
    return 0


def _listener(descriptor: int | None) -> socket.socket:
    """Return the socket that the parent or systemd passed. Raises ConfigError."""
    if descriptor is not None:
        return socket.socket(fileno=descriptor)
    passed = passed_sockets()
    if passed is None:
        raise ConfigError("cannot serve: no socket was passed (systemctl start maxmemd-pusher)")
    return passed[0]


if __name__ == "__main__":
    sys.exit(main())
