"""What other threads may know of the arbiter: frozen values that its own thread publishes.

The event loop answers health and metrics from the last Status and never from the arbiter's
objects, which change under its hands. A Status is a few microseconds old, or as old as the step
that the thread is in.
"""

from collections.abc import Mapping
from typing import NamedTuple

from maxmemd.arbiter.conditions import NOT_COMPARED, Condition
from maxmemd.arbiter.reconciler import Reconciler
from maxmemd.arbiter.records import Records
from maxmemd.histogram import SIZES, Distribution, Histogram
from maxmemd.policy.fights import Fight


class Figures(NamedTuple):
    """What the arbiter counted since it was made, and how its ledger is.

    `ledger` is "ok", or the code and text of its trouble. `generation` is that of the records:
    until it grows, a revision of a domain is one entry of its history. `fights` are those that go
    on. `pruning_ended_by` is why the history is not pruned any more, "" unless that is so.
    """

    ledger: str
    generation: int
    commits: int
    dropped: int
    decisions: int
    drifts: int
    healed: int
    pushes: int
    push_failures: int
    refusals: Mapping[str, int]
    commit_s: Distribution
    push_s: Distribution
    domain_faults: int = 0
    conditions: tuple[Condition, ...] = ()
    fights_begun: int = 0
    fights: tuple[Fight, ...] = ()
    pruning_ended_by: str = ""


class Status(NamedTuple):
    """How the arbiter's thread fares.

    `xen` is "ok", or what is wrong with comparing Xen with the ledger. `alive_s` is when it last
    came round (monotonic). `figures` is None until there is an arbiter.
    """

    xen: str
    alive_s: float
    batch_sizes: Distribution
    figures: Figures | None = None

    @property
    def ledger(self) -> str:
        """Say "ok", or what is wrong with the ledger."""
        return "ok" if self.figures is None else self.figures.ledger

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What held of single domains at the last poll."""
        return () if self.figures is None else self.figures.conditions

    @property
    def domains(self) -> str:
        """Say "ok", or which domains could not be compared with the ledger."""
        faulty = [each for each in self.conditions if each.kind == NOT_COMPARED]
        if not faulty:
            return "ok"
        told = "; ".join(f"{each.name or each.uuid}: {each.detail}" for each in faulty[:3])
        return f"cannot compare {len(faulty)} of them: {told}"

    @property
    def mark(self) -> object:
        """Return what is another value after each change that the arbiter made or saw."""
        now = self.figures
        return now and (
            (now.generation, now.commits, now.decisions, now.drifts, now.healed, now.pushes),
            (now.push_failures, now.domain_faults, now.ledger, now.conditions, now.fights),
        )

    @property
    def generation(self) -> int:
        """How often records may have been dropped; see Records.generation."""
        return 0 if self.figures is None else self.figures.generation


STARTING = Status("starting", 0.0, Histogram(SIZES).snapshot())
"""Before there is an arbiter."""


def figures_of(
    records: Records,
    reconciler: Reconciler,
    decisions: int,
    refusals: Mapping[str, int],
    conditions: tuple[Condition, ...],
    *,
    pruning_ended_by: str,
) -> Figures:
    """Return the figures as they are now. Belongs to the arbiter's thread."""
    trouble = records.trouble
    return Figures(
        "ok" if trouble is None else f"{trouble.code}: {trouble}",
        records.generation,
        records.commits,
        records.notes.dropped,
        decisions,
        reconciler.drifts,
        reconciler.limits.healed,
        reconciler.limits.pushes,
        reconciler.limits.failures,
        dict(refusals),
        records.took_s.snapshot(),
        reconciler.limits.took_s.snapshot(),
        reconciler.lifecycle.surprises.count,
        conditions,
        reconciler.fights.began,
        reconciler.fights.now,
        pruning_ended_by,
    )
