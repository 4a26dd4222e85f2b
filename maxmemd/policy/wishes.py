"""What a client can ask for, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass

from maxmemd.policy.components import LIMIT, Key
from maxmemd.units import Memory


@dataclass(frozen=True, slots=True)
class SetLimit:
    """xl mem-max: the operator's limit becomes `amount`, and with `node` memory/static-max too."""

    amount: Memory
    force: bool = False
    node: bool = True


@dataclass(frozen=True, slots=True)
class SetTarget:
    """xl mem-set: the balloon target becomes `target` (video RAM included), or moves by a delta.

    `enforce` makes it the operator's limit too. Exactly one of the two amounts is given.
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
    """The component is no part of the sum any more."""

    key: Key


@dataclass(frozen=True, slots=True)
class Increase:
    """The component grows by `by_kib` (shrinks when negative); a missing one counts as 0."""

    key: Key
    by_kib: int


@dataclass(frozen=True, slots=True)
class Rollback:
    """The components and static-max of an earlier revision, by number."""

    revision: int
    force: bool = False


@dataclass(frozen=True, slots=True)
class Import:
    """A record that comes with its domain from elsewhere replaces this one whole."""

    amounts: Mapping[Key, Memory]
    static_max: Memory | None


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


CREATED, RESTORED, MIGRATED_IN = "created", "restored", "migrated-in"
LIVES = (CREATED, RESTORED, MIGRATED_IN)
"""How an instance comes to be, as far as its toolstack knows."""

Wish = (
    SetLimit
    | SetTarget
    | SetComponent
    | RemoveComponent
    | Increase
    | Rollback
    | Import
    | Build
    | Headroom
)

KINDS: Mapping[type, str] = {
    SetLimit: "mem-max",
    SetTarget: "mem-set",
    SetComponent: "component",
    RemoveComponent: "component-removed",
    Increase: "increase",
    Rollback: "rollback",
    Import: "import",
    Build: "build",
    Headroom: "headroom",
}
"""What the history calls each wish; never changed, as codes are not."""


def says_the_limit(wish: Wish) -> bool:
    """Whether the wish says what the operator's limit is, whatever it was before."""
    match wish:
        case SetTarget(enforce=enforce):
            return enforce
        case SetComponent(key=key):
            return key == LIMIT
        case SetLimit() | Rollback() | Import():
            return True
    return False


def needs_store(wish: Wish) -> bool:
    """Whether the decision looks at the balloon target or static-max in xenstore."""
    match wish:
        case SetComponent(key, _) | Increase(key, _):
            return key == LIMIT
        case RemoveComponent() | Build() | Headroom():
            return False
    return True
