"""Which transitions of an instance are taken while something runs, whatever the tables allow."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import pytest

from maxmemd.arbiter.instance import Instance
from maxmemd.policy.states import BUILD_TRANSITIONS, PUSH_TRANSITIONS, BuildPhase, PushState

Pair = tuple[StrEnum, StrEnum]


@dataclass
class Taken:
    """The pairs of states, from and to, that followed one another."""

    pushes: set[Pair] = field(default_factory=set)
    builds: set[Pair] = field(default_factory=set)

    def illegal(self) -> set[Pair]:
        """Return those that the tables do not have."""
        return (self.pushes - LEGAL_PUSHES) | (self.builds - LEGAL_BUILDS)

    def missing(self) -> set[Pair]:
        """Return those of the tables that were not taken."""
        return (LEGAL_PUSHES - self.pushes) | (LEGAL_BUILDS - self.builds)


LEGAL_PUSHES: set[Pair] = {(was, now) for was, after in PUSH_TRANSITIONS.items() for now in after}
LEGAL_BUILDS: set[Pair] = {(was, now) for was, after in BUILD_TRANSITIONS.items() for now in after}


@contextmanager
def watched(taken: Taken) -> Iterator[Taken]:
    """Note every transition of every instance, by looking at its states and not at the tables."""
    enter, enter_phase = Instance._enter, Instance._enter_phase

    def entering(self: Instance, after: PushState) -> None:
        before = self.push_state
        enter(self, after)
        if self.push_state is not before:
            taken.pushes.add((before, self.push_state))

    def entering_phase(self: Instance, after: BuildPhase) -> None:
        before = self.build_phase
        enter_phase(self, after)
        if self.build_phase is not before:
            taken.builds.add((before, self.build_phase))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Instance, "_enter", entering)
        patch.setattr(Instance, "_enter_phase", entering_phase)
        yield taken
