"""The real daemon on a simulated host in another process, so that Xen survives its death."""

import argparse
import logging
import sys
from pathlib import Path

from maxmemd.arbiter import mailbox
from maxmemd.backend import Backend
from maxmemd.config.settings import Config
from maxmemd.daemon import run_to_the_end, serve_on
from maxmemd.errors import MaxmemError
from maxmemd.ports import Pusher
from maxmemd.pusher.client import PusherClient
from maxmemd.pusher.connect import ChildConnector, SocketConnector
from maxmemd.pusher.local import LocalPusher
from tests.support.simhost import RemoteHypervisor, RemoteXenstore


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("host", type=Path)
    parser.add_argument("socket", type=Path)
    parser.add_argument("database", type=Path)
    parser.add_argument("--poll", type=float, default=2.0)
    parser.add_argument("--answer-within", type=float, default=mailbox.ANSWER_WITHIN_S)
    parser.add_argument("--drift", default="restore")
    parser.add_argument("--separate", action="store_true", help="push from a child process")
    parser.add_argument("--pusher", type=Path, help="push through this socket")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    mailbox.ANSWER_WITHIN_S = asked.answer_within

    def world() -> Backend:
        pusher: Pusher
        if asked.separate:
            floor = Config().dom0_floor
            words = ("tests.support.serve_pusher", "--host", str(asked.host))
            pusher = PusherClient(ChildConnector(floor, *words))
        elif asked.pusher is not None:
            pusher = PusherClient(SocketConnector(asked.pusher))
        else:
            pusher = LocalPusher(RemoteHypervisor(asked.host), RemoteXenstore(asked.host))
        return Backend(pusher, "one-boot", "the surviving host", simulated=True)

    config = Config(
        socket=asked.socket, database=asked.database, poll_s=asked.poll, drift=asked.drift
    )
    try:
        run_to_the_end(serve_on(config, world))
    except MaxmemError as error:
        sys.exit(f"maxmemd: {error}")


if __name__ == "__main__":
    main()
