"""What is to be done to one domain, and what came of it: frozen values, as they travel."""

from typing import NamedTuple

from maxmemd.policy.facts import XenFacts
from maxmemd.policy.verdicts import Effects
from maxmemd.units import Memory


class Order(NamedTuple):
    """Bring the domain that has this domid, and is still this UUID, to a limit and its effects.

    `raising` says that Xen's maximum goes up, or is not known: then it is set first.
    """

    domid: int
    uuid: str
    limit: Memory
    raising: bool
    effects: Effects


class Outcome(NamedTuple):
    """How an order ended: `seen` is what was read back, None where it was not done.

    Then `error` says why, with Xen's or xenstored's errno; `gone` that the domain is no more.
    """

    seen: XenFacts | None
    gone: bool = False
    errno: int | None = None
    error: str | None = None
