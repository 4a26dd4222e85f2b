"""What an arbiter must come to, in a few dicts: the model of the state machine.

Its arithmetic is its own (KiB in plain ints, from the design and libxl_mem.c), so that a fault
of the policy is not its own witness.
"""

from copy import deepcopy
from dataclasses import dataclass, field

from maxmemd.policy.components import Key
from maxmemd.policy.wishes import (
    Import,
    Increase,
    RemoveComponent,
    Rollback,
    SetComponent,
    SetLimit,
    SetTarget,
    Wish,
)

MAX_MEM: Key = ("operator", "max-mem")
SLACK: Key = ("toolstack", "slack")
SLACK_KIB = 1024
OWNERS = {"operator", "toolstack", "device-model"}
DOM0_FLOOR_KIB = 128 * 1024
END_KIB = 2**52


@dataclass
class Domain:
    """One UUID: its components in KiB, static-max, and every revision that it had."""

    dom0: bool = False
    components: dict[Key, int] = field(default_factory=dict)
    static_max: int | None = None
    past: list[tuple[dict[Key, int], int | None]] = field(default_factory=list)

    @property
    def revision(self) -> int:
        """How often it was decided on."""
        return len(self.past)

    @property
    def pages(self) -> int:
        """What Xen must hold."""
        return min(sum(self.components.values()) // 4, 0xFFFFFFFF)

    def keep(self, components: dict[Key, int], static_max: int | None) -> None:
        """Make the next revision."""
        self.components, self.static_max = dict(components), static_max
        self.past.append((dict(components), static_max))


@dataclass
class Nodes:
    """What xenstore says of a domain, in KiB."""

    target: int | None
    static_max: int | None
    videoram: int = 0


def wanted(  # noqa: C901, PLR0911, PLR0912 - a wish a case
    domain: Domain, nodes: Nodes, wish: Wish
) -> tuple[Domain, Nodes] | None:
    """Return what a wish makes of a domain and its nodes; None when it must be refused."""
    after, written = deepcopy(domain), deepcopy(nodes)
    components, static_max = dict(domain.components), domain.static_max
    match wish:
        case SetLimit(amount, force):
            if _too_low(domain, nodes, amount.kib, force=force):
                return None
            components |= {MAX_MEM: amount.kib, SLACK: SLACK_KIB}
            static_max = written.static_max = amount.kib
        case SetTarget(target, by_kib, enforce):
            asked = _target(domain, nodes, None if target is None else target.kib, by_kib)
            if asked is None:
                return None
            written.target = asked
            if enforce:
                components |= {MAX_MEM: asked + nodes.videoram, SLACK: SLACK_KIB}
        case SetComponent(key, amount):
            if _untouchable(domain, nodes, key, amount.kib):
                return None
            components[key] = amount.kib
        case Increase(key, by_kib):
            components[key] = components.get(key, 0) + by_kib
            if _untouchable(domain, nodes, key, components[key]):
                return None
        case RemoveComponent(key):
            if key in (MAX_MEM, SLACK) or key not in components:
                return None
            del components[key]
        case Rollback(revision, force):
            if not 1 <= revision <= domain.revision:
                return None
            components, static_max = domain.past[revision - 1]
            if _too_low(domain, nodes, components[MAX_MEM], force=force):
                return None
            written.static_max = nodes.static_max if static_max is None else static_max
        case Import(amounts, imported):
            if MAX_MEM not in amounts or not {key[0] for key in amounts} <= OWNERS:
                return None
            components = {**{key: amount.kib for key, amount in amounts.items()}, SLACK: SLACK_KIB}
            if domain.dom0 and components[MAX_MEM] < DOM0_FLOOR_KIB:
                return None
            static_max = None if imported is None else imported.kib
            written.static_max = nodes.static_max if static_max is None else static_max
    replaced = isinstance(wish, Rollback | Import) and domain.dom0
    if replaced and static_max is not None and static_max < DOM0_FLOOR_KIB:
        return None
    if sum(components.values()) >= END_KIB:
        return None
    after.keep(components, static_max)
    return after, written


def _too_low(domain: Domain, nodes: Nodes, limit: int, *, force: bool) -> bool:
    if domain.dom0 and limit < DOM0_FLOOR_KIB:
        return True
    return not force and nodes.target is not None and limit < nodes.target


def _untouchable(domain: Domain, nodes: Nodes, key: Key, kib: int) -> bool:
    if key[0] not in OWNERS or key == SLACK or kib < 0:
        return True
    return key == MAX_MEM and _too_low(domain, nodes, kib, force=False)


def _target(domain: Domain, nodes: Nodes, target: int | None, by_kib: int | None) -> int | None:
    if target is not None:
        asked = target - nodes.videoram
    elif nodes.target is None:
        return None
    else:
        asked = max(0, nodes.target + (by_kib or 0))
    if asked < 0 or nodes.static_max is None or asked > nodes.static_max:
        return None
    return None if domain.dom0 and asked < DOM0_FLOOR_KIB else asked


def reborn(domain: Domain, nodes: Nodes, built_kib: int) -> None:
    """Keep a domain's record over a rebirth, unless the build contradicts it."""
    same = nodes.static_max == domain.static_max or None in (nodes.static_max, domain.static_max)
    fits = nodes.target is None or nodes.target <= domain.components[MAX_MEM]
    if not (same and fits):
        domain.keep({MAX_MEM: built_kib, SLACK: SLACK_KIB}, nodes.static_max)
