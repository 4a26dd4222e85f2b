"""The two state machines of an instance, one life of a domain on this host.

How far its limit is in force
=============================
A decision is first committed and then pushed. What is read back after the push, or seen by a
later poll, is the only proof that Xen holds the limit: no answer of a hypercall is. So every
state but `gone` names what was last seen, never what was last tried.

`pending` is where an instance begins, and where one returns to that was in force and is not any
more without a push of ours having failed: another program wrote the maximum (drift), its
toolstack did while it builds the domain, or there are xenstore nodes left to write. A push that
failed, or that read back otherwise, stays named as that until a later push or poll shows better;
it does not return to `pending`, for then the reason would be lost.

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
writes static-max to xenstore last, and lets it run (libxl_dom.c:libxl__build_pre, _post). Until
it has told us what it builds (POST build), we can only watch, and must not fight it.

`undecided`: seen, and nothing is concluded yet. Either it is still being built while a record of
an earlier life exists, or it runs and xenstore cannot be asked whether it goes on with it.
`following`: it has no record but the one that is taken from this very build, step after step.
`announced`: its toolstack said what it builds, or a client said what its limit is, so that
nothing that the build writes is taken over any more. It has not run yet.
`settled`: it has run, and its record is understood. There is no way back: a domain runs for the
first time only once, and one that is built again is another instance.

    from / to     undecided  following  announced  settled
    undecided          .          x          x         x
    following                     .          x         x
    announced                                .         x
    settled                                            .

Whether it has run is a fact that Xen shows (`Instance.building`), not a state of its own: a
domain that runs is undecided for as long as xenstore cannot be asked about it.
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
    """A fault of maxmemd: what happened cannot happen in the state that the instance is in."""

    def __init__(self, what: str, before: StrEnum, after: StrEnum) -> None:
        super().__init__(f"cannot go from {before} to {after}: {what}")
