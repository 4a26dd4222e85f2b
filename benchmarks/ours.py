"""The daemon as it is shipped, on a simulated host with a given number of guests.

`python -m benchmarks.ours SOCKET DATABASE GUESTS [separate]`; "separate" runs the pusher as a
process of its own, as on a real Xen.
"""

import sys
from functools import partial
from pathlib import Path

from maxmemd.__main__ import rest_collector

on_started = rest_collector()  # before the imports, as `maxmemd serve` does

import uvloop

from maxmemd.backend import Backend
from maxmemd.config.identities import Identity
from maxmemd.config.settings import Config
from maxmemd.daemon import serve_on
from maxmemd.pusher.client import PusherClient
from maxmemd.pusher.connect import ChildConnector
from maxmemd.xen.simulated import SimulatedHost

BOOT = "benchmark"
BASE, TOOLSTACK = 300_000, 1001
"""uids: of the device model of domain 0, were there one, and of a toolstack."""


def make_backend(guests: int, *, separate: bool = False) -> Backend:
    """Return the backend of a simulated host, as `maxmemd serve` makes it."""
    if separate:
        pusher = pusher_process(guests)
        return Backend(
            pusher, BOOT, f"a simulated host of {guests}, with a pusher process", simulated=True
        )
    host = SimulatedHost.with_guests(guests)
    return Backend.of_simulated(host, BOOT, f"a simulated host of {guests}")


def pusher_process(guests: int) -> PusherClient:
    """Return the client of a pusher process, which has the simulated host."""
    program = ("benchmarks.pusher", "--guests", str(guests))
    return PusherClient(ChildConnector(Config().dom0_floor, *program))


def main(socket: str, database: str, guests: str, how: str = "") -> None:
    """Serve until SIGTERM or SIGINT."""
    config = Config(
        socket=Path(socket),
        database=Path(database),
        hypervisor="simulated",
        toolstacks=(Identity("uid", TOOLSTACK),),
        device_model_base=BASE,
    )
    make = partial(make_backend, int(guests), separate=bool(how))
    uvloop.run(serve_on(config, make, on_started=on_started))


if __name__ == "__main__":
    main(*sys.argv[1:])
