"""The real daemon on a host with a running guest and guests that are not yet populated.

It does what it reads from stdin: "replace DOMID" ends a domain and gives its domid to another.
"""

import argparse
import os
import threading
from pathlib import Path

import uvloop

from maxmemd.backend import Backend
from maxmemd.config.parsers import AUTO
from maxmemd.config.settings import Config
from maxmemd.daemon import serve_on
from maxmemd.pusher.local import LocalPusher
from maxmemd.systemd import DEVICE_MODELS, FIRST_SOCKET
from maxmemd.units import Memory
from maxmemd.xen.simulated import SimulatedHost

RUNNING, BUILDING = range(1, 31), range(31, 61)
"""domids."""
BASE = 300_000
"""The device model of domain N is uid BASE + N."""


def host_of_newborns() -> SimulatedHost:
    """Return the host: some run, with 512 MiB of 1024; the others have no maximum yet."""
    host = SimulatedHost(total=Memory.of_mib(32768))
    for domid in RUNNING:
        host.create(f"run-{domid}", memory=Memory.of_mib(512), maxmem=Memory.of_mib(1024))
    for domid in BUILDING:
        next(host.creating(f"new-{domid}", memory=Memory.of_mib(128), domid=domid))
    return host


def obey(host: SimulatedHost) -> None:
    """Do what is read, and say when it is done."""
    with open(0, "rb", buffering=0, closefd=False) as orders:
        for line in orders:
            domid = int(line.removeprefix(b"replace "))
            host.destroy(domid)
            host.create(f"another-{domid}", memory=Memory.of_mib(256), domid=domid)
            print("done", flush=True)


def take_as_from_systemd(held: list[int]) -> None:
    """Let the daemon find the sockets that we inherited as those that systemd holds."""
    high = [os.dup(descriptor) for descriptor in held]
    for place, descriptor in enumerate(high):
        os.dup2(descriptor, FIRST_SOCKET + place)
    os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), str(len(held))
    os.environ["LISTEN_FDNAMES"] = f"maxmemd.socket:{DEVICE_MODELS}"


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--database", type=Path)
    parser.add_argument("--apart", type=Path)
    parser.add_argument("--held", type=int, nargs=2, default=[])
    asked = parser.parse_args()
    if asked.held:
        take_as_from_systemd(asked.held)
    host = host_of_newborns()
    threading.Thread(target=obey, args=(host,), daemon=True).start()

    def world() -> Backend:
        pusher = LocalPusher(host.hypervisor(), host.xenstore())
        return Backend(pusher, "one-boot", "newborns", simulated=True)

    config = Config(
        socket=asked.socket,
        database=asked.database,
        device_model_base=BASE,
        device_model_socket=asked.apart or AUTO,
    )
    uvloop.run(serve_on(config, world))


if __name__ == "__main__":
    main()
