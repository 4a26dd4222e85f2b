"""Which kind of host this is, and the paths that a simulated one has of its own.

A simulated host never uses the service's ledger or socket unless they are named: its guests are
invented, and would be recorded beside real ones.
"""

import os
from pathlib import Path

from maxmemd.files import SIMULATED

XEN, SIMULATED_HOST, AUTO = "xen", "simulated", "auto"
PRIVCMD = Path("/dev/xen/privcmd")


def kind_of_host(hypervisor: str, pusher: Path) -> str:
    """Return "xen" or "simulated"; "auto" is Xen if this machine has it."""
    if hypervisor != AUTO:
        return hypervisor
    return XEN if PRIVCMD.exists() or pusher.is_socket() else SIMULATED_HOST


def simulated_folder() -> Path:
    """Return the folder of a simulated host's socket and ledger: root's, or the user's own."""
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(own, SIMULATED.name) if own and os.geteuid() != 0 else SIMULATED
