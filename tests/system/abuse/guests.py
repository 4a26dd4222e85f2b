"""`python -m tests.system.abuse.guests`: the daemon on a simulated host with many guests.

Every line on standard input is answered with what Xen holds: max_pages by UUID, as JSON. Nothing
is polled for, so that no limit is in force but by its own decision.
"""

import argparse
import json
import logging
import sys
import threading
from pathlib import Path

import uvloop

from maxmemd.backend import Backend
from maxmemd.config.settings import Config
from maxmemd.daemon import serve_on
from maxmemd.pusher.local import LocalPusher
from maxmemd.xen.simulated import SimulatedHost

NEVER_S = 1e6


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--guests", type=int, default=50)
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--database", type=Path)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    host = SimulatedHost.with_guests(asked.guests)

    def tell() -> None:
        for _ in sys.stdin:
            print(json.dumps({one.uuid: one.max_pages for one in host.machine.domains()}))
            sys.stdout.flush()

    def world() -> Backend:
        threading.Thread(target=tell, daemon=True).start()
        hypervisor, xenstore = host.hypervisor(), host.xenstore()
        return Backend(LocalPusher(hypervisor, xenstore), "one-boot", "many guests", simulated=True)

    config = Config(socket=asked.socket, database=asked.database, poll_s=NEVER_S)
    uvloop.run(serve_on(config, world))


if __name__ == "__main__":
    main()
