"""Orders for the guest, and what Xen then holds."""

from pathlib import Path

from maxmemd.policy.facts import XenFacts
from maxmemd.policy.orders import Order
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from maxmemd.units import Memory
from tests.support.simhost import SimHost

MIB = Memory.of_mib


FLOOR = MIB(128)


ROOT = Path(__file__).parents[2]


SERVE = "tests.support.serve_pusher"


WITHIN_S = 20.0


def order(sim: SimHost, limit: Memory, *, uuid: str = "", **effects: Memory) -> Order:
    """Return an order for the guest."""
    seen: XenFacts = sim.call("machine.domain", 1)
    wanted = Effects(**effects) if effects else NO_EFFECTS
    return Order(1, uuid or seen.uuid, limit, limit.max_pages >= seen.max_pages, wanted)


def max_pages(sim: SimHost, domid: int = 1) -> int:
    """Return what Xen holds."""
    seen: XenFacts = sim.call("machine.domain", domid)
    return seen.max_pages
