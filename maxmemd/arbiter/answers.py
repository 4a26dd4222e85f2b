"""How a verdict on a wish is answered: for which domain, and what it changes."""

from maxmemd.arbiter.messages import Amounts, Change, Granted, Refused
from maxmemd.arbiter.observation import Halted, Observation
from maxmemd.policy.components import Record
from maxmemd.policy.facts import StoreFacts
from maxmemd.policy.verdicts import NO_EFFECTS, Effects, Grant, Refusal
from maxmemd.units import kib_or_none


def granted_of(
    record: Record,
    seen: Observation | Halted | None,
    effects: Effects = NO_EFFECTS,
    *,
    change: Change | None = None,
    dry: bool = False,
) -> Granted:
    """Return the answer to a wish that is granted."""
    domid, name = _called(seen)
    kib = kib_or_none(effects.target)
    writes = tuple(named for named, _ in effects.named())
    return Granted(record, domid, name, kib, dry_run=dry, change=change, writes=writes)


def change_of(before: Record, grant: Grant, nodes: StoreFacts | None) -> Change:
    """Return what a grant changes, nodes in xenstore included."""
    nodes = nodes or StoreFacts(target=before.target, static_max=before.static_max)
    return Change(_amounts(before, nodes), _amounts(grant.record, grant.effects.on(nodes)))


def _amounts(record: Record, nodes: StoreFacts) -> Amounts:
    static_max_kib, target_kib = kib_or_none(nodes.static_max), kib_or_none(nodes.target)
    return Amounts(record.max_mem_kib, record.limit_kib, static_max_kib, target_kib)


def _called(seen: Observation | Halted | None) -> tuple[int | None, str | None]:
    """Return the domid and name that an answer has for a domain."""
    if isinstance(seen, Observation):
        return seen.instance.domid, seen.instance.name
    return None, None if seen is None else seen.name


def refused_of(refusal: Refusal, uuid: str, seen: Observation | Halted | None) -> Refused:
    """Return the answer to a wish that is refused."""
    return Refused(refusal, uuid, *_called(seen))
