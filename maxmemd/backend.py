"""The adapters of one host: which there are, and which this machine needs."""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maxmemd.config.settings import Config
from maxmemd.ports import Pusher
from maxmemd.pusher.local import LocalPusher
from maxmemd.systemd import Watchdog

if TYPE_CHECKING:
    from maxmemd.xen.simulated import SimulatedHost

LOG = logging.getLogger("maxmemd")
PRIVCMD = Path("/dev/xen/privcmd")


class SystemClock:
    """Time as the operating system has it."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def wall_ns(self) -> int:
        """Nanoseconds since 1970."""
        return time.time_ns()


@dataclass(frozen=True, slots=True)
class Backend:
    """The adapters of one host. `boot` tells one boot of it from another."""

    pusher: Pusher
    boot: str
    name: str
    simulated: bool

    @classmethod
    def of_simulated(cls, host: "SimulatedHost", boot: str, name: str) -> "Backend":
        """Return the adapters of a simulated host here, whose guests live on our time."""
        pusher = LocalPusher(host.hypervisor(time.monotonic), host.xenstore())
        return cls(pusher, boot, name, simulated=True)


def choose_backend(config: Config) -> Backend:
    """Return the adapters that the configuration, or else the machine, asks for.

    Raises HypervisorError or XenstoreError.
    """
    wanted = config.hypervisor
    if wanted == "auto":
        wanted = "xen" if PRIVCMD.exists() or config.pusher.is_socket() else "simulated"
    if wanted == "xen":
        from maxmemd.pusher.client import PusherClient
        from maxmemd.pusher.connect import connector_for

        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        way = connector_for(config.pusher, config.dom0_floor)
        remote = PusherClient(way, alive=Watchdog().fed)
        return Backend(remote, boot, remote.meet().hypervisor, simulated=False)

    from maxmemd.xen.simulated import SimulatedHost

    LOG.warning("SIMULATED HOST: there is no Xen here, or none was asked for.")
    LOG.warning("SIMULATED HOST: the guests are made up, no real domain is touched.")
    boot = f"simulated-{os.getpid()}"
    return Backend.of_simulated(SimulatedHost.demo(), boot, "the simulated host")
