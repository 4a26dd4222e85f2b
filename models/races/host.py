"""The modelled host: Xen's maximum, xenstore's nodes, libxl's lock, the arbiter's ledger."""

from typing import NamedTuple

BUILT_WITH = 128 * 1024
"""What the domain is built with (KiB): its first target and static-max."""

CONSTANT = 1024
"""libxl's LIBXL_MAXMEM_CONSTANT (KiB; tools/libs/light/libxl_internal.h)."""


class ModelHost(NamedTuple):
    """A host with one domain at one moment, in KiB. Equal hosts have equal futures.

    `xen` is what the domain's maximum is made of in Xen: one number, or one for every owner in
    model 4. `incoming` is the same of the destination while a migration runs, None before and
    after. `life` counts the domain's instances: a migrated one is another. `base` is the word
    that the next delta starts from; `populated` is what device models hold. `ledger` is the
    operator's word and the device models' shares; `asked` waits for the arbiter, `answered` has
    its answer, `refused` a refusal. `doing` is where the arbiter is in its turn.
    """

    xen: tuple[int, ...]
    target: int | None = BUILT_WITH
    static_max: int | None = BUILT_WITH
    base: int = BUILT_WITH
    lock: int | None = None
    life: int = 0
    incoming: tuple[int, ...] | None = None
    populated: int = 0
    ledger: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()
    answered: frozenset[int] = frozenset()
    refused: frozenset[int] = frozenset()
    doing: str = "idle"
    plan: tuple[int, ...] = ()
    falls: int = 0

    @property
    def maximum(self) -> int:
        """What Xen enforces."""
        return sum(self.xen)

    @property
    def held(self) -> int:
        """What the domain may hold, so what a migration has to bring over.

        Its RAM as built and what device models populated, as far as Xen lets it: a guest follows
        its maximum here at once.
        """
        return min(BUILT_WITH + CONSTANT + self.populated, self.maximum)

    @property
    def is_arbiter_up(self) -> bool:
        """Whether the arbiter takes requests: neither dead nor still healing Xen."""
        return self.doing not in ("down", "healing")

    @property
    def may_fall(self) -> bool:
        """Whether killing the arbiter now can change anything, and it did not die before."""
        return self.falls == 0 and (self.doing != "idle" or bool(self.asked))

    def fallen(self) -> "ModelHost":
        """Return the host after the arbiter's death: its ledger and Xen stay."""
        return self._replace(doing="down", plan=(), asked=(), falls=1)


def is_announced(host: ModelHost) -> bool:
    """Whether xenstore knows the domain, so that xl and QEMU can act on it."""
    return host.target is not None
