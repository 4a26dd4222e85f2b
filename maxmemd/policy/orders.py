"""What is to be done to one domain, and what came of it: frozen values, as they travel."""

from typing import NamedTuple

from maxmemd.policy.facts import XenFacts
from maxmemd.policy.states import EffectState
from maxmemd.policy.verdicts import Effects
from maxmemd.units import Memory


class Order(NamedTuple):
    """Bring the domain that has this domid, and is still this UUID, to a limit and its effects.

    `raising` says that Xen's maximum goes up, or is not known: then it is set first. `unique_id` is
    the domain's, where it is known: another one of its UUID is not meant (A11).
    """

    domid: int
    uuid: str
    limit: Memory
    raising: bool
    effects: Effects
    unique_id: int | None = None


class EffectOutcome(NamedTuple):
    """How one effect ended. `errno` is Xen's or xenstored's; ENOENT: it has no path there."""

    name: str
    state: EffectState
    amount: Memory
    errno: int | None = None
    error: str | None = None


class Outcome(NamedTuple):
    """How an order ended: `seen` is what was read back, None where the limit was not set.

    Then `error` says why, with Xen's errno; `gone` that the domain is no more. `effects` are those
    that were tried, each for itself.
    """

    seen: XenFacts | None
    gone: bool = False
    errno: int | None = None
    error: str | None = None
    effects: tuple[EffectOutcome, ...] = ()
