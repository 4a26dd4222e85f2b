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
    SetMaxMem,
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
    """One UUID: its components in KiB, static-max, target, and every revision that it had.

    `observed` says which of max-mem and static-max no client decided.
    """

    dom0: bool = False
    components: dict[Key, int] = field(default_factory=dict)
    static_max: int | None = None
    target: int | None = None
    former: int | None = None
    observed: set[str] = field(default_factory=set)
    past: list[tuple[dict[Key, int], int | None, int | None]] = field(default_factory=list)

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
        self.past.append((dict(components), static_max, self.target))

    def built(self, built_kib: int, static_max: int | None) -> None:
        """Make the next revision of what a toolstack built, and no client decided."""
        self.target = self.former = None
        self.observed = {"max-mem", "static-max"}
        self.keep({MAX_MEM: built_kib, SLACK: SLACK_KIB}, static_max)

    @property
    def outlives(self) -> bool:
        """Whether a client decided anything of it."""
        own = {MAX_MEM, SLACK} if "max-mem" in self.observed else {SLACK}
        static_max = self.static_max is not None and "static-max" not in self.observed
        return self.target is not None or static_max or bool(set(self.components) - own)


@dataclass
class Nodes:
    """What xenstore says of a domain, in KiB."""

    target: int | None
    static_max: int | None
    videoram: int = 0


def wanted(  # noqa: C901, PLR0911, PLR0912, PLR0915 - a wish a case
    domain: Domain, nodes: Nodes, wish: Wish
) -> tuple[Domain, Nodes] | None:
    """Return what a wish makes of a domain and its nodes; None when it must be refused."""
    after, written = deepcopy(domain), deepcopy(nodes)
    components, static_max = dict(domain.components), domain.static_max
    match wish:
        case SetMaxMem(amount, force):
            if _too_low(domain, nodes, amount.kib, force=force):
                return None
            components |= {MAX_MEM: amount.kib, SLACK: SLACK_KIB}
            static_max = written.static_max = amount.kib
            after.observed.clear()
        case SetTarget(target, by_kib, enforce):
            asked = _target(domain, nodes, None if target is None else target.kib, by_kib)
            if asked is None:
                return None
            written.target = after.target = asked
            after.former = nodes.target if domain.former is None else domain.former
            if enforce:
                after.observed.discard("max-mem")
                components |= {MAX_MEM: asked + nodes.videoram, SLACK: SLACK_KIB}
        case SetComponent(key, amount):
            if _untouchable(domain, nodes, key, amount.kib):
                return None
            components[key] = amount.kib
            after.observed -= {"max-mem"} if key == MAX_MEM else set()
        case Increase(key, by_kib):
            components[key] = components.get(key, 0) + by_kib
            if _untouchable(domain, nodes, key, components[key]):
                return None
            after.observed -= {"max-mem"} if key == MAX_MEM else set()
        case RemoveComponent(key):
            if key in (MAX_MEM, SLACK) or key not in components:
                return None
            del components[key]
        case Rollback(revision, force):
            if not 1 <= revision <= domain.revision:
                return None
            components, static_max, target = domain.past[revision - 1]
            aim = domain.former if target is None else target
            aimed = nodes if aim is None else Nodes(aim, nodes.static_max, nodes.videoram)
            if _too_low(domain, aimed, components[MAX_MEM], force=force):
                return None
            if domain.dom0 and aim is not None and aim < DOM0_FLOOR_KIB:
                return None
            after.target, after.former = aim, domain.former
            if aim is not None:
                written.target = aim
                after.former = nodes.target if domain.former is None else domain.former
            after.observed.clear()
            written.static_max = nodes.static_max if static_max is None else static_max
        case Import(amounts, imported):
            if MAX_MEM not in amounts or not {key[0] for key in amounts} <= OWNERS:
                return None
            components = {**{key: amount.kib for key, amount in amounts.items()}, SLACK: SLACK_KIB}
            is_floored = domain.dom0 or components != domain.components
            if is_floored and _too_low(domain, nodes, components[MAX_MEM], force=False):
                return None
            static_max = None if imported is None else imported.kib
            after.observed.clear()
            after.target = after.former = None
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


def reborn(
    domain: Domain, nodes: Nodes, built_kib: int, *, holds_kib: int, held_kib: int | None
) -> Nodes:
    """Keep what was decided over a rebirth, unless the build contradicts it; return the nodes.

    `held_kib` is what the instance before held where its end was seen to be a restart or a
    suspension; `built_kib` is the max-mem that the toolstack built it with.
    """
    if _contradicts(domain, nodes, holds_kib, held_kib):
        domain.built(built_kib, nodes.static_max)
        return nodes
    components, static_max = dict(domain.components), domain.static_max
    if "max-mem" in domain.observed:
        components |= {MAX_MEM: built_kib, SLACK: SLACK_KIB}
    if ("static-max" in domain.observed or static_max is None) and nodes.static_max is not None:
        domain.observed.add("static-max")
        static_max = nodes.static_max
    if (components, static_max) != (domain.components, domain.static_max):
        domain.keep(components, static_max)
    after = deepcopy(nodes)
    if domain.dom0:
        return after
    if "static-max" not in domain.observed and static_max is not None:
        after.static_max = static_max
    target = domain.target
    if target is not None and (nodes.target is None or abs(target - nodes.target) > SLACK_KIB):
        after.target = target
    return after


def _contradicts(domain: Domain, nodes: Nodes, holds_kib: int, held_kib: int | None) -> bool:
    own_static = domain.static_max is not None and "static-max" not in domain.observed
    if not own_static and "max-mem" in domain.observed:
        return False
    known = None not in (nodes.static_max, domain.static_max) and not domain.dom0
    if held_kib is None and known and nodes.static_max != domain.static_max:
        return True
    if "max-mem" in domain.observed:
        return False
    if nodes.target is None or domain.dom0:
        return holds_kib // 4 > max(domain.pages, (held_kib or 0) // 4)
    room = max(domain.components[MAX_MEM] + nodes.videoram, held_kib or 0)
    return nodes.target + nodes.videoram > room + SLACK_KIB
