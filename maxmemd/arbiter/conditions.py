"""What an administrator should know of a domain, though the daemon is well: for health."""

from typing import NamedTuple

from maxmemd.arbiter.instances import InstanceTable
from maxmemd.arbiter.surprises import Surprises
from maxmemd.policy.kinds import EntryKind
from maxmemd.policy.states import EffectState

NOT_COMPARED = "not-compared"
EFFECT_FAILED = "effect-failed"
MOST = 100
"""No more are reported."""


class Condition(NamedTuple):
    """One thing that holds of one domain now."""

    uuid: str
    domid: int | None
    name: str | None
    kind: str
    detail: str


def conditions_of(instances: InstanceTable, surprises: Surprises) -> tuple[Condition, ...]:
    """Return what holds now, the gravest first. Once a poll."""
    found = []
    met = surprises.named
    for instance in instances:
        about = instance.uuid, instance.domid, instance.name
        why = met.pop(instance.uuid, None)
        if why is not None:
            found.append(Condition(*about, NOT_COMPARED, why))
        if instance.target_above is not None:
            detail = str(instance.target_above)
            found.append(Condition(*about, EntryKind.TARGET_ABOVE_LIMIT, detail))
        for node in instance.unreadable:
            found.append(Condition(*about, EntryKind.NODE_UNREADABLE, str(node)))  # noqa: PERF401
        for each in instance.effect_outcomes:
            if each.state is EffectState.FAILED:
                detail = f"{each.name} could not be written: {each.error}"
                found.append(Condition(*about, EFFECT_FAILED, detail))
    found += [Condition(who, None, None, NOT_COMPARED, why) for who, why in met.items()]
    return tuple(sorted(found, key=lambda each: each.kind != NOT_COMPARED)[:MOST])
