"""The daemon in its shipped form, on a simulated host with a given number of guests.

`python -m benchmarks.ours SOCKET DATABASE GUESTS`
"""

import sys
import time
from pathlib import Path

import uvloop

from maxmemd.config import Config
from maxmemd.daemon import World, serve_on
from maxmemd.pusher.direct import DirectPusher
from maxmemd.xen.simulated import SimulatedHost

BOOT = "benchmark"


def world(guests: int) -> World:
    """Return the adapters of a simulated host, as `maxmemd serve` makes them."""
    host = SimulatedHost.with_guests(guests)
    pusher = DirectPusher(host.hypervisor(time.monotonic), host.xenstore())
    return World(pusher, BOOT, f"a simulated host of {guests}", simulated=True)


def main(socket: str, database: str, guests: str) -> None:
    """Serve until told to stop."""
    config = Config(socket=Path(socket), database=Path(database), hypervisor="simulated")
    uvloop.run(serve_on(config, lambda: world(int(guests))))


if __name__ == "__main__":
    main(*sys.argv[1:])
