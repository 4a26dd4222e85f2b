"""What a client can ask for, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass

from maxmemd.policy.components import MAX_MEM, Key
from maxmemd.policy.kinds import EntryKind
from maxmemd.units import Memory


@dataclass(frozen=True, slots=True)
class SetMaxMem:
    """xl mem-max: the guest may use `amount` at most, and with `node` memory/static-max too."""

    amount: Memory
    force: bool = False
    node: bool = True


@dataclass(frozen=True, slots=True)
class SetTarget:
    """xl mem-set: the balloon target becomes `target` (video RAM included), or moves by a delta.

    `enforce` makes it the max-mem too. Exactly one of the two amounts is given.
    """

    target: Memory | None = None
    by_kib: int | None = None
    enforce: bool = True


@dataclass(frozen=True, slots=True)
class SetComponent:
    """The component is `amount` from now on."""

    key: Key
    amount: Memory


@dataclass(frozen=True, slots=True)
class RemoveComponent:
    """The component is no longer in the sum."""

    key: Key


@dataclass(frozen=True, slots=True)
class Increase:
    """The component grows by `by_kib` (shrinks when negative); a missing one counts as 0."""

    key: Key
    by_kib: int


@dataclass(frozen=True, slots=True)
class Rollback:
    """The components, static-max and target of an earlier revision, by number."""

    revision: int
    force: bool = False


@dataclass(frozen=True, slots=True)
class Import:
    """A record that comes with its domain from elsewhere replaces this one whole."""

    amounts: Mapping[Key, Memory]
    static_max: Memory | None
    target: Memory | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Build:
    """A toolstack is about to populate a new instance: xl create, restore, migrate-receive.

    `target` is what the guest is built with, video RAM included; `life` is one of LIVES;
    `static_max` is known where the toolstack says it.
    """

    target: Memory
    life: str
    static_max: Memory | None = None


@dataclass(frozen=True, slots=True)
class Headroom:
    """A device model is about to populate this many 4 KiB pages."""

    pages: int


CREATED, RESTORED, MIGRATED_IN, UNKNOWN = "created", "restored", "migrated-in", "unknown"
LIVES = (CREATED, RESTORED, MIGRATED_IN, UNKNOWN)
"""How an instance comes to be, as far as its toolstack knows: unknown where it cannot tell one of
several builds from another."""

Wish = (
    SetMaxMem
    | SetTarget
    | SetComponent
    | RemoveComponent
    | Increase
    | Rollback
    | Import
    | Build
    | Headroom
)

KINDS: Mapping[type, EntryKind] = {
    SetMaxMem: EntryKind.MEM_MAX,
    SetTarget: EntryKind.MEM_SET,
    SetComponent: EntryKind.COMPONENT_SET,
    RemoveComponent: EntryKind.COMPONENT_REMOVED,
    Increase: EntryKind.COMPONENT_INCREASED,
    Rollback: EntryKind.ROLLBACK,
    Import: EntryKind.IMPORT,
    Build: EntryKind.BUILD_ANNOUNCED,
    Headroom: EntryKind.HEADROOM,
}
"""What the history calls each wish."""


def says_the_limit(wish: Wish) -> bool:
    """Whether the wish replaces what the guest may use, whatever it was before."""
    match wish:
        case SetTarget(enforce=enforce):
            return enforce
        case SetComponent(key=key):
            return key == MAX_MEM
        case SetMaxMem() | Rollback() | Import():
            return True
    return False


def needs_store(wish: Wish) -> bool:
    """Whether the decision looks at the balloon target or static-max in xenstore."""
    match wish:
        case SetComponent(key, _) | Increase(key, _):
            return key == MAX_MEM
        case RemoveComponent() | Build() | Headroom():
            return False
    return True
