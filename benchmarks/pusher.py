"""maxmemd-pusher on a simulated host: its own options, then `--guests NUMBER`."""

import sys
import time

from maxmemd.pusher import __main__ as program
from maxmemd.pusher.local import LocalPusher
from maxmemd.xen.simulated import SimulatedHost


def main() -> int:
    """Run the program on a host with the given number of guests."""
    *arguments, _, guests = sys.argv[1:]
    host = SimulatedHost.with_guests(int(guests))
    return program.main(
        arguments, lambda: LocalPusher(host.hypervisor(time.monotonic), host.xenstore())
    )
