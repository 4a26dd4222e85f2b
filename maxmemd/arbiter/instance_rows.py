"""Instances as rows of the ledger, and instances of such rows."""

from maxmemd.arbiter.instance import NO_WRITES, Instance
from maxmemd.policy.codec import build_from_text, build_to_text, effects_from_text, effects_to_text
from maxmemd.policy.entries import BuildState, InstanceRow
from maxmemd.policy.fights import ForeignWrites
from maxmemd.policy.states import BuildPhase
from maxmemd.policy.verdicts import Effects


def instance_of(row: InstanceRow) -> Instance:
    """Return an instance that the ledger held open.

    Of one that is not settled we do not know whether it has run since: it counts as being built
    until Xen says otherwise, for a build is never lowered (A4).
    """
    build = build_from_text(row.build)
    pushed = build.pushed_pages
    return Instance(
        row.uuid,
        row.domid,
        row.incarnation,
        row.boot,
        row.began_ns,
        build.unique_id,
        building=build.phase is not BuildPhase.SETTLED,
        build_phase=build.phase,
        push_state=row.push_state,
        settled_revision=row.settled_revision,
        effects=effects_from_text(row.effects),
        drift_pages=row.drift_pages,
        wanted_pages=0 if pushed is None else pushed,
        toolstack_pages=build.toolstack_pages,
        build_pages=build.build_pages,
        is_newcomer=build.is_newcomer,
        writes=NO_WRITES if row.fight_ns is None else ForeignWrites(since_ns=row.fight_ns),
    )


def row_of(
    instance: Instance,
    *,
    effects: Effects | None = None,
    build: BuildState | None = None,
    ended_ns: int | None = None,
) -> InstanceRow:
    """Return what the ledger keeps of an instance; what is given, instead of its own."""
    return InstanceRow(
        instance.uuid,
        instance.domid,
        instance.incarnation,
        instance.boot,
        instance.began_ns,
        ended_ns,
        instance.push_state,
        instance.settled_revision,
        effects_to_text(instance.effects if effects is None else effects),
        build_to_text(instance.build if build is None else build),
        instance.drift_pages,
        instance.writes.since_ns,
    )
