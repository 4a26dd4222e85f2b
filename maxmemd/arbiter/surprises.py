"""Faults of maxmemd that the facts of one domain lead to: they must not reach the other domains.

What can go wrong in the world (Xen, xenstore, the ledger) is a MaxmemError and is dealt with where
it is met. Anything else is a fault of ours. It ends the work on the domain that it was met with and
no more: it is counted, logged with its traceback once, and its domain is named in health until a
poll goes well for it.
"""

import logging

from maxmemd.errors import DomainFault, MaxmemError

LOG = logging.getLogger("maxmemd.arbiter")
MOST_LOGGED = 1000
"""So many different faults are logged by one process; all are counted."""


class Surprises:
    """Which domains could not be dealt with, and why. Belongs to the arbiter's thread."""

    def __init__(self) -> None:
        self.count = 0
        self._met: dict[str, str] = {}
        self._named: dict[str, str] = {}
        self._logged: set[tuple[str, str]] = set()

    @property
    def named(self) -> dict[str, str]:
        """What was met in the last poll, or since: why, by the domains' UUIDs or references."""
        return self._named | self._met

    def note(self, who: str, surprise: Exception) -> DomainFault:
        """Count what was met with a domain, and return it as an error that can be answered.

        Raises it where it is no fault of one domain: trouble of the world, or no memory left.
        """
        if isinstance(surprise, MaxmemError | MemoryError) and not isinstance(
            surprise, DomainFault
        ):
            raise surprise
        self.count += 1
        why = f"{type(surprise).__name__}: {surprise}"
        if (who, why) not in self._logged and len(self._logged) < MOST_LOGGED:
            self._logged.add((who, why))
            LOG.error("a fault of maxmemd, met with domain %s", who, exc_info=surprise)
        self._met.setdefault(who, why)
        # Why is for the log and for health: a client who may only ask learns no insides.
        return DomainFault(
            f"cannot go on with domain {who}: it is a fault of maxmemd (see its log)"
        )

    def on_poll_ended(self) -> None:
        """Name from now on only what this poll met, or what came since the one before."""
        self._named, self._met = self._met, {}
