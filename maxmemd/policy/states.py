"""The two state machines of an instance, one life of a domain on this host.

How far its limit is in force
=============================
A decision is first committed and then pushed. Only a read-back after the push, or a later poll,
proves that Xen holds the limit; the result of the hypercall does not. So every state but `gone`
names what was last seen, never what was last tried.

`pending` is the initial state. An instance whose limit was in force returns to it if the limit is
no longer in force although no push of ours failed: another program wrote the maximum (drift), or
the toolstack wrote it during the build. What a push writes besides (its effects) has states of its
own, `EffectState`: the limit is in force whether or not a node can be written. After a failed or
mismatched push the state stays `failed` or `mismatched` until a later push or poll shows the limit
in force; it does not return to `pending`, since that would lose the reason.

    from / to     pending  applied  over-limit  mismatched  failed  gone
    pending          .        x         x           x         x      x
    applied          x        .         x           x         x      x
    over-limit       x        x         .           x         x      x
    mismatched                x         x           .         x      x
    failed                    x         x           x         .      x
    gone                                                             .

What its record has to do with its build
========================================
A toolstack builds a domain step by step: it creates it paused, sets its maximum, populates it,
writes static-max to xenstore last, and unpauses it (libxl_dom.c:libxl__build_pre, _post). Unless
it announces the build (POST builds), we can only watch, and must not write the maximum ourselves.

`undecided`: seen, but not yet matched with its record. Either it is still being built while a
record of an earlier instance exists, or it runs and xenstore cannot be read to decide whether it
continues that record.
`following`: its only record is the one taken from this build, updated with each step of it.
`announced`: the toolstack announced the build, or a client set the limit, so what the build
writes is no longer taken over. The domain has not run yet.
`settled`: the domain has run, and its record is decided. This is final: a domain runs for the
first time only once, and one that is built again is another instance.

    from / to     undecided  following  announced  settled
    undecided          .          x          x         x
    following                     .          x         x
    announced                                .         x
    settled                                            .

Whether a domain has run is a fact that Xen reports (`Instance.building`), not a build phase: a
running domain stays `undecided` until xenstore can be read.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class PushState(StrEnum):
    """How far an instance's limit is in force."""

    PENDING = "pending"
    """Not seen in force, and no push has failed."""
    APPLIED = "applied"
    """Xen holds it."""
    OVER_LIMIT = "over-limit"
    """Xen holds it, and the guest holds more pages: it gets no new ones until it shrinks (A1)."""
    MISMATCHED = "mismatched"
    """Our push went through, and read back as another number."""
    FAILED = "failed"
    """Xen or xenstore refused the push."""
    GONE = "gone"
    """The instance is no more."""


class EffectState(StrEnum):
    """How far one effect of a push is written; the limit's state never depends on it."""

    PENDING = "pending"
    """Still to be written."""
    WRITTEN = "written"
    FAILED = "failed"
    """Xen or xenstore refused it; it is tried again."""
    DROPPED = "dropped"
    """The domain lives and cannot take it; it is not tried again."""


class BuildPhase(StrEnum):
    """What an instance's record has to do with the build that its toolstack makes."""

    UNDECIDED = "undecided"
    FOLLOWING = "following"
    ANNOUNCED = "announced"
    SETTLED = "settled"


IN_FORCE = frozenset({PushState.APPLIED, PushState.OVER_LIMIT})
"""The push states in which Xen holds the limit: what is granted may be populated."""

TROUBLED = frozenset({PushState.MISMATCHED, PushState.FAILED, PushState.OVER_LIMIT})
"""The push states whose end is worth an entry of the history."""

_ALWAYS = frozenset(PushState) - {PushState.PENDING}
"""Whatever was seen before, a push or a poll may show any of these."""

PUSH_TRANSITIONS: Mapping[PushState, frozenset[PushState]] = MappingProxyType({
    PushState.PENDING: _ALWAYS,
    PushState.APPLIED: frozenset(PushState) - {PushState.APPLIED},
    PushState.OVER_LIMIT: frozenset(PushState) - {PushState.OVER_LIMIT},
    PushState.MISMATCHED: _ALWAYS - {PushState.MISMATCHED},
    PushState.FAILED: _ALWAYS - {PushState.FAILED},
    PushState.GONE: frozenset(),
})  # fmt: skip
"""The first table above. To stay in a state is no transition."""

BUILD_TRANSITIONS: Mapping[BuildPhase, frozenset[BuildPhase]] = MappingProxyType({
    BuildPhase.UNDECIDED: frozenset(
        {BuildPhase.FOLLOWING, BuildPhase.ANNOUNCED, BuildPhase.SETTLED}
    ),
    BuildPhase.FOLLOWING: frozenset({BuildPhase.ANNOUNCED, BuildPhase.SETTLED}),
    BuildPhase.ANNOUNCED: frozenset({BuildPhase.SETTLED}),
    BuildPhase.SETTLED: frozenset(),
})  # fmt: skip
"""The second table above, likewise."""


def ends_guessing(phase: BuildPhase, *, is_named: bool) -> bool:
    """Whether a client's decision on a UUID's limit, or an announced build, ends what is guessed.

    It does for the instance that was named, and for every other one that the record follows.
    """
    return is_named or phase is BuildPhase.FOLLOWING


class IllegalTransition(RuntimeError):
    """A fault of maxmemd: what happened cannot happen in the state that the instance is in.

    What happened is the method `on_...` in its traceback.
    """

    def __init__(self, uuid: str, before: StrEnum, after: StrEnum) -> None:
        super().__init__(f"cannot go from {before} to {after}: {uuid}")
