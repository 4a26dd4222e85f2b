"""Choose what maxmemd runs on: the pusher of a real Xen, or a simulated host."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maxmemd.config.host import XEN, kind_of_host
from maxmemd.config.settings import Config
from maxmemd.ports import Pusher
from maxmemd.pusher.local import LocalPusher
from maxmemd.systemd import Watchdog

if TYPE_CHECKING:
    from maxmemd.xen.simulated import SimulatedHost

LOG = logging.getLogger("maxmemd")


class SystemClock:
    """The operating system's clocks."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def wall_ns(self) -> int:
        """Nanoseconds since 1970."""
        return time.time_ns()


@dataclass(frozen=True, slots=True)
class Backend:
    """What one host is reached by. `boot` identifies its current boot."""

    pusher: Pusher
    boot: str
    name: str
    simulated: bool

    @classmethod
    def of_simulated(cls, host: "SimulatedHost", boot: str, name: str) -> "Backend":
        """Return the backend of a simulated host in this process, on this process's clock."""
        pusher = LocalPusher(host.hypervisor(time.monotonic), host.xenstore())
        return cls(pusher, boot, name, simulated=True)


def choose_backend(config: Config, is_well: Callable[[], bool] = lambda: True) -> Backend:
    """Return the configured backend; "auto" is Xen if this machine has it, else a simulated host.

    While the pusher is away, and the rest of the daemon `is_well`, systemd's watchdog is fed.

    Raises HypervisorError or XenstoreError.
    """
    if kind_of_host(config.hypervisor, config.pusher) == XEN:
        from maxmemd.pusher.client import PusherClient
        from maxmemd.pusher.connect import choose_connector

        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        connector = choose_connector(config.pusher, config.dom0_floor)
        pusher = PusherClient(connector, on_failed_attempt=Watchdog(is_well).feed)
        return Backend(pusher, boot, pusher.wait_until_ready().hypervisor, simulated=False)

    from maxmemd.xen.simulated import SimulatedHost

    LOG.warning("SIMULATED HOST: this machine has no Xen, or the configuration asks for none.")
    LOG.warning("SIMULATED HOST: its guests are invented; no real domain is touched.")
    boot = f"simulated-{os.getpid()}"
    return Backend.of_simulated(SimulatedHost.demo(), boot, "the simulated host")
