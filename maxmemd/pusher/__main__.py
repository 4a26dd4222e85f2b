"""maxmemd-pusher: the program."""

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
from maxmemd.pusher.server import PATIENCE_S, PusherServer
from maxmemd.systemd import notify, passed_sockets, start_logging
from maxmemd.units import Memory

LOG = logging.getLogger("maxmemd.pusher")


def real() -> Pusher:
    """Open Xen's handle and xenstore's. Raises HypervisorError."""
    from maxmemd.pusher.local import LocalPusher
    from maxmemd.xen.xencall import Xencall
    from maxmemd.xen.xenstore import Xenstored

    return LocalPusher(Xencall(), Xenstored(patience_s=PATIENCE_S))


def main(argv: Sequence[str] | None = None, make: Callable[[], Pusher] = real) -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="maxmemd-pusher",
        description="Hold Xen's handle: do what maxmemd decided, and no more.",
        epilog="Started by systemd (maxmemd-pusher.service), or by maxmemd serve where systemd did"
        " not. It takes dom0_floor from the configuration, and nothing else.",
    )
    parser.add_argument("--version", action="version", version=f"maxmemd {__version__}")
    parser.add_argument("--config", type=Path, help="default: /etc/maxmemd/maxmemd.toml if any")
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--dom0-floor-kib", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    start_logging()
    try:
        kib = asked.dom0_floor_kib
        floor = load(asked.config).dom0_floor if kib is None else Memory(kib=kib)
        listener = _listener(asked.fd)
    except MaxmemError as error:
        LOG.critical("%s", error)
        return 2
    process = PusherServer(listener, make, floor)
    notify("READY=1")
    try:
        process.serve(until=None if asked.fd is None else sys.stdin.fileno())
    finally:
        process.close()
    return 0


def _listener(descriptor: int | None) -> socket.socket:
    """Return the socket that systemd passed, or the parent. Raises ConfigError."""
    if descriptor is not None:
        return socket.socket(fileno=descriptor)
    passed = passed_sockets()
    if passed is None:
        raise ConfigError("cannot serve: no socket was passed (systemctl start maxmemd-pusher)")
    return passed[0]


if __name__ == "__main__":
    sys.exit(main())
