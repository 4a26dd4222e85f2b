"""How an instance ended, as far as it was seen, and what follows for the next one of its UUID.

Xen tells why a guest shut down (xen/include/public/sched.h:SHUTDOWN_*); a domain that is destroyed
while it runs has no reason. Four of the reasons are one class: the toolstack makes the same domain
again by itself (xl's on_reboot, on_crash, on_watchdog, on_soft_reset = "restart").
"""

from typing import NamedTuple

from maxmemd.policy.components import ZERO
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from maxmemd.units import Memory

POWEROFF, REBOOT, SUSPEND, CRASH, WATCHDOG, SOFT_RESET = range(6)

RESTARTS = frozenset({REBOOT, CRASH, WATCHDOG, SOFT_RESET})
"""After these xl makes the domain again, of what xenstore says of it (libxl_domain_create_new)."""


class Ending(NamedTuple):
    """The end of a domain's last instance, or what is known of one that is about to end.

    `reason` is Xen's, None where none was seen; `boot` the host's boot id of then. `held` is what
    the guest held when it shut down. `unwritten` was decided, and xenstore never had it.
    `decided_ahead` says that a client decided on the domain since, for its next start.
    """

    reason: int | None
    boot: str
    held: Memory = ZERO
    unwritten: Effects = NO_EFFECTS
    decided_ahead: bool = False

    @property
    def is_restart(self) -> bool:
        """Whether the toolstack makes the same domain again by itself."""
        return self.reason in RESTARTS

    @property
    def is_suspension(self) -> bool:
        """Whether a stream has the domain: it was saved, or migrates."""
        return self.reason == SUSPEND

    def still_counts(self, boot: str) -> bool:
        """Whether it says anything in this boot of the host.

        A saved domain outlives the boot, and so does what was decided for a domain's next start.
        """
        return self.is_suspension or self.decided_ahead or boot == self.boot


UNSEEN = Ending(None, "")
"""Nothing was seen of how the instance before ended, or there was none."""
