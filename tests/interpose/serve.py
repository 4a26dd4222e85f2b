"""The real daemon on a host with a running guest and guests that are not yet populated."""

import argparse
from pathlib import Path

import uvloop

from maxmemd.config import Config
from maxmemd.daemon import World, serve_on
from maxmemd.pusher.direct import DirectPusher
from maxmemd.units import Memory
from maxmemd.xen.simulated import SimulatedHost

RUNNING, BUILDING = range(1, 31), range(31, 61)
"""domids."""


def host_of_newborns() -> SimulatedHost:
    """Return the host: some run, with 512 MiB of 1024; the others have no maximum yet."""
    host = SimulatedHost(total=Memory.of_mib(32768))
    for domid in RUNNING:
        host.create(f"run-{domid}", memory=Memory.of_mib(512), maxmem=Memory.of_mib(1024))
    for domid in BUILDING:
        next(host.creating(f"new-{domid}", memory=Memory.of_mib(128), domid=domid))
    return host


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--database", type=Path)
    asked = parser.parse_args()
    host = host_of_newborns()

    def world() -> World:
        pusher = DirectPusher(host.hypervisor(), host.xenstore())
        return World(pusher, "one-boot", "newborns", simulated=True)

    uvloop.run(serve_on(Config(socket=asked.socket, database=asked.database), world))


if __name__ == "__main__":
    main()
