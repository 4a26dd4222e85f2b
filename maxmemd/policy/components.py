"""A domain's record: named amounts with owners, whose sum is the limit.

A component is only ever what its owner said; the pushed sum is never fed back as input.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from maxmemd.units import Memory, max_pages_of

ZERO = Memory(kib=0)

Key = tuple[str, str]
"""(owner, name) of a component."""

MAX_MEM: Key = ("operator", "max-mem")
"""What the guest may use: mem-max, mem-set, the build."""

SLACK: Key = ("toolstack", "slack")
"""libxl's LIBXL_MAXMEM_CONSTANT, owned in one place (tools/libs/light/libxl_internal.h)."""

POPULATED: Key = ("device-model", "populated")
"""What a device model populates beyond what the limit had room for: option ROMs, video RAM."""

STATIC_MAX: Key = ("xenstore", "static-max")
"""Stands for the record's static-max in `Record.observed`: no component."""

OBSERVABLE = frozenset({MAX_MEM, STATIC_MAX})
"""What maxmemd takes from Xen and xenstore where no client decided it. Others only clients set, but
for the slack, which the configuration has."""

DECIDED: frozenset[Key] = frozenset()
"""Nothing of what is set was merely observed."""


class Component(NamedTuple):
    """One component's amount and the record's revision that set it."""

    amount: Memory
    revision: int


@dataclass(frozen=True, slots=True)
class Record:
    """What should be, for one UUID: components, and what was last decided of static-max and target.

    Revision 0 is the empty record of a domain never decided on. `components` is never mutated.
    `observed` names what maxmemd took from Xen, xenstore or an announced build: such a number ends
    with the instance that it was observed of. Everything else a client decided, and it goes on.
    `target` is memory/target as a client decided it (video RAM excluded), None where none did;
    `former_target` is what it was before the first such decision. `limit_kib` is the sum of the
    components, kept because every poll looks at it; it may pass what a Memory holds until it is
    checked.
    """

    uuid: str
    revision: int
    components: Mapping[Key, Component]
    static_max: Memory | None = None
    target: Memory | None = None
    former_target: Memory | None = None
    observed: frozenset[Key] = DECIDED
    limit_kib: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        total = sum([component.amount.kib for component in self.components.values()])
        object.__setattr__(self, "limit_kib", total)

    @property
    def limit(self) -> Memory:
        """The sum of the components."""
        return Memory(kib=self.limit_kib)

    @property
    def max_pages(self) -> int:
        """The limit as Xen keeps it (A1); every poll asks, of every domain."""
        return max_pages_of(self.limit_kib)

    @property
    def max_mem_kib(self) -> int | None:
        """What the operator lets the guest use; None where no such component was ever set."""
        component = self.components.get(MAX_MEM)
        return None if component is None else component.amount.kib

    @property
    def decided(self) -> frozenset[Key]:
        """The components that a client decided, and STATIC_MAX where a client decided that."""
        known = set(self.components) if self.static_max is None else {*self.components, STATIC_MAX}
        return frozenset(known - self.observed - {SLACK})

    def is_decided(self, key: Key) -> bool:
        """Whether the record has this number, and from a client."""
        return key in self.decided

    def amount(self, key: Key) -> Memory | None:
        """Return a component's amount, or None when the record has no such component."""
        component = self.components.get(key)
        return None if component is None else component.amount

    def amount_or_zero(self, key: Key) -> Memory:
        """Return a component's amount, 0 KiB when the record has no such component."""
        part = self.components.get(key)
        return ZERO if part is None else part.amount

    def with_amounts(
        self,
        amounts: Mapping[Key, Memory | None],
        *,
        static_max: Memory | None = None,
        observed: frozenset[Key] = DECIDED,
    ) -> "Record":
        """Return the next revision with these amounts, of which `observed` are; None removes one.

        A component that keeps its amount, and was not merely observed, keeps the revision that set
        it. `static_max` None keeps the recorded one.
        """
        revision = self.revision + 1
        components = dict(self.components)
        given = set(amounts) if static_max is None else {*amounts, STATIC_MAX}
        for key, amount in amounts.items():
            if amount is None:
                components.pop(key, None)
            elif (
                key not in components
                or components[key].amount != amount
                or (key in self.observed and key not in observed)
            ):
                components[key] = Component(amount, revision)
        kept = self.static_max if static_max is None else static_max
        marks = (self.observed - given) | (observed & given)
        known = marks & {*components, STATIC_MAX} if marks else marks
        return Record(self.uuid, revision, components, kept, self.target, self.former_target, known)

    def with_exactly(
        self,
        amounts: Mapping[Key, Memory],
        *,
        static_max: Memory | None,
        observed: frozenset[Key] = DECIDED,
    ) -> "Record":
        """Return the next revision with these components and no others, and no target."""
        gone = {key: None for key in self.components if key not in amounts}
        after = self.with_amounts({**gone, **amounts}, static_max=static_max, observed=observed)
        marks = after.observed if static_max is not None else after.observed - {STATIC_MAX}
        return replace(
            after, static_max=static_max, target=None, former_target=None, observed=marks
        )

    def with_target(self, target: Memory, before: Memory | None) -> "Record":
        """Return the same revision with a target that a client decided; it was `before`."""
        former = before if self.former_target is None else self.former_target
        return replace(self, target=target, former_target=former)
