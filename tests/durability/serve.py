"""The real daemon on a simulated host in another process, so that Xen survives its death."""

import argparse
import logging
import sys
from pathlib import Path

import uvloop

from maxmemd import mailbox
from maxmemd.adapters import World
from maxmemd.config import Config
from maxmemd.daemon import serve_on
from maxmemd.errors import MaxmemError
from maxmemd.ports import Pusher
from maxmemd.pusher.direct import DirectPusher
from maxmemd.pusher.remote import RemotePusher
from maxmemd.pusher.ways import Child
from tests.simhost import RemoteHypervisor, RemoteXenstore


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
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    mailbox.ANSWER_WITHIN_S = asked.answer_within

    def world() -> World:
        pusher: Pusher
        if asked.separate:
            floor = Config().dom0_floor
            words = ("tests.pusher.serve", "--host", str(asked.host))
            pusher = RemotePusher(Child(floor, *words))
        else:
            pusher = DirectPusher(RemoteHypervisor(asked.host), RemoteXenstore(asked.host))
        return World(pusher, "one-boot", "the surviving host", simulated=True)

    config = Config(
        socket=asked.socket, database=asked.database, poll_s=asked.poll, drift=asked.drift
    )
    try:
        uvloop.run(serve_on(config, world))
    except MaxmemError as error:
        sys.exit(f"maxmemd: {error}")


if __name__ == "__main__":
    main()
