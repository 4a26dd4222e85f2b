"""The daemon in its shipped form, on a simulated host with a given number of guests.

`python -m benchmarks.ours SOCKET DATABASE GUESTS [separate]`; "separate": with the process that
pushes apart, as on a real Xen.
"""

import sys
from functools import partial
from pathlib import Path

from maxmemd.__main__ import rest_collector

on_started = rest_collector()  # before the imports, as `maxmemd serve` does

import uvloop

from maxmemd.backend import Backend
from maxmemd.config.settings import Config
from maxmemd.daemon import serve_on
from maxmemd.pusher.client import PusherClient
from maxmemd.pusher.connect import ChildConnector
from maxmemd.xen.simulated import SimulatedHost

BOOT = "benchmark"


def world(guests: int, *, separate: bool = False) -> Backend:
    """Return the adapters of a simulated host, as `maxmemd serve` makes them."""
    if separate:
        pusher = apart(guests)
        return Backend(pusher, BOOT, f"a simulated host of {guests}, apart", simulated=True)
    host = SimulatedHost.with_guests(guests)
    return Backend.of_simulated(host, BOOT, f"a simulated host of {guests}")


def apart(guests: int) -> PusherClient:
    """Return the way to a simulated host in a process of its own."""
    words = ("benchmarks.pusher", "--guests", str(guests))
    return PusherClient(ChildConnector(Config().dom0_floor, *words))


def main(socket: str, database: str, guests: str, how: str = "") -> None:
    """Serve until told to stop."""
    config = Config(socket=Path(socket), database=Path(database), hypervisor="simulated")
    make = partial(world, int(guests), separate=bool(how))
    uvloop.run(serve_on(config, make, on_started=on_started))


if __name__ == "__main__":
    main(*sys.argv[1:])
