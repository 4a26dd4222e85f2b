"""The one codec of the ledger: values to its JSON text, and back.

It lives here, and not in ledger/, because it knows only values: the arbiter writes with it what
the ledger keeps as opaque text, and the ledger, the API and the tests read with it. ledger/ is
SQL and hashes, arbiter/ decides what is kept, and neither imports the other.

Amounts are KiB in fields named *_kib. What is read was checked by a hash or a seal before; what
does not fit all the same raises KeyError, TypeError or ValueError.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from maxmemd.policy.components import Component, Record
from maxmemd.policy.drift import DriftMode, Instant, SetMode
from maxmemd.policy.endings import REBOOT, UNSEEN, Ending
from maxmemd.policy.entries import SETTLED_BUILD, BuildState
from maxmemd.policy.states import BuildPhase
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from maxmemd.policy.wishes import (
    Build,
    Headroom,
    Import,
    Increase,
    RemoveComponent,
    Rollback,
    SetComponent,
    SetMaxMem,
    SetTarget,
    Wish,
)
from maxmemd.units import Memory, kib_or_none


def to_text(value: object) -> str:
    """Return JSON text: pydantic's writer, for json.dumps takes four times as long."""
    return to_json(value).decode()


def from_text(text: str) -> Any:
    """Return what JSON text says."""
    return json.loads(text)


def record_to_text(record: Record) -> str:
    """Return what the history keeps of a record beside its UUID and revision."""
    return to_text(state_to_json(record))


def record_from_text(uuid: str, revision: int, text: str) -> Record:
    """Return the record that `record_to_text` described."""
    return record_from_state(uuid, revision, from_text(text))


def state_to_json(record: Record) -> dict[str, Any]:
    """Return a record's state as JSON types; what is not known is left out, but for static-max."""
    state: dict[str, Any] = {
        "components": [
            [*key, component.amount.kib, component.revision]
            for key, component in record.components.items()
        ],
        "static_max_kib": kib_or_none(record.static_max),
    }
    if record.target is not None:
        state["target_kib"] = record.target.kib
    if record.former_target is not None:
        state["former_target_kib"] = record.former_target.kib
    state["observed"] = sorted(record.observed)
    return state


def record_from_state(uuid: str, revision: int, state: Mapping[str, Any]) -> Record:
    """Return the record that `state_to_json` described.

    Before revision 0007 of the ledger a state did not say what was observed: all of it counts as
    decided then.
    """
    components = {
        (owner, name): Component(Memory(kib=kib), since)
        for owner, name, kib, since in state["components"]
    }
    return Record(
        uuid,
        revision,
        components,
        _memory(state["static_max_kib"]),
        _memory(state.get("target_kib")),
        _memory(state.get("former_target_kib")),
        frozenset((owner, name) for owner, name in state.get("observed", ())),
    )


def effects_to_text(effects: Effects) -> str | None:
    """Return what is still to be written for an instance; None where nothing is."""
    if effects is NO_EFFECTS:
        return None
    named = {
        "pod_target_kib": effects.pod_target,
        "static_max_kib": effects.static_max,
        "target_kib": effects.target,
    }
    known = {name: amount.kib for name, amount in named.items() if amount is not None}
    return to_text(known)


def effects_from_text(text: str | None) -> Effects:
    """Return the effects that `effects_to_text` described."""
    if text is None:
        return NO_EFFECTS
    amounts = {name.removesuffix("_kib"): Memory(kib=kib) for name, kib in from_text(text).items()}
    return Effects(**amounts)


def build_to_text(build: BuildState) -> str | None:
    """Return what must not be forgotten of a build; None once all is known of it."""
    if build == SETTLED_BUILD:
        return None
    words = build._asdict()
    if build.build_pages is None:
        del words["build_pages"]
    if not build.is_newcomer:
        del words["is_newcomer"]
    if build.unique_id is None:
        del words["unique_id"]
    return to_text(words)


def build_from_text(text: str | None) -> BuildState:
    """Return the build that `build_to_text` described."""
    if text is None:
        return SETTLED_BUILD
    words = from_text(text)
    return BuildState(
        BuildPhase(words["phase"]),
        words.get("toolstack_pages"),
        words.get("pushed_pages"),
        words.get("build_pages"),
        words.get("is_newcomer", False),
        words.get("unique_id"),
    )


def ending_to_json(ending: Ending, *, never_ran: bool = False) -> dict[str, Any]:
    """Return what the history says of an end; no more than `never_ran` where no reason was seen.

    An instance that never ran has none: `ending` is then that of the one before it.
    """
    words: dict[str, Any] = {}
    if ending.reason is not None:
        words = {"shutdown_reason": ending.reason, "boot": ending.boot}
        words["held_kib"] = ending.held.kib
    if not never_ran:
        return words
    if ending.decided_ahead:
        words["decided_ahead"] = True
    return {"never_ran": True, **({"before": words} if words else {})}


def ending_from_json(words: Mapping[str, Any]) -> Ending | None:
    """Return the end that `ending_to_json` described; None where no reason was seen.

    Before revision 0007 of the ledger only a reboot was noted, and not what was held.
    """
    words = words.get("before", words)
    reason = REBOOT if words.get("reboot") else words.get("shutdown_reason")
    ahead = words.get("decided_ahead", False)
    if reason is None:
        return UNSEEN._replace(decided_ahead=True) if ahead else None
    held = Memory(kib=words.get("held_kib", 0))
    return Ending(reason, words["boot"], held, decided_ahead=ahead)


def drift_mode_to_text(found: SetMode) -> str:
    """Return what the ledger keeps of a mode that a client set."""
    return to_text(found)


def drift_mode_from_text(text: str) -> SetMode:
    """Return the mode that `drift_mode_to_text` described."""
    mode, seconds, since, set_ns, actor, reason = from_text(text)
    return SetMode(DriftMode(mode), seconds, Instant(*since), set_ns, actor, reason)


def wish_to_json(wish: Wish) -> dict[str, object]:  # noqa: PLR0911 - a table, by kind
    """Return a wish as the history keeps it (JSON types; amounts in KiB)."""
    match wish:
        case SetMaxMem(amount, force, node):
            alone = {} if node else {"static_max": False}
            return {"max_mem_kib": amount.kib, **({"force": True} if force else {}), **alone}
        case SetTarget(target, by_kib, enforce):
            asked = {"by_kib": by_kib} if target is None else {"target_kib": target.kib}
            return {**asked, "enforce": enforce}
        case SetComponent((owner, name), amount):
            return {"owner": owner, "name": name, "amount_kib": amount.kib}
        case RemoveComponent((owner, name)):
            return {"owner": owner, "name": name}
        case Increase((owner, name), by_kib):
            return {"owner": owner, "name": name, "by_kib": by_kib}
        case Rollback(revision, force):
            return {"revision": revision, **({"force": True} if force else {})}
        case Import(amounts, static_max, target, force):
            components = [[*key, amount.kib] for key, amount in amounts.items()]
            known = {} if target is None else {"target_kib": target.kib}
            known |= {"force": True} if force else {}
            return {"components": components, "static_max_kib": kib_or_none(static_max), **known}
        case Build(target, life, static_max):
            known = {} if static_max is None else {"static_max_kib": static_max.kib}
            return {"target_kib": target.kib, "life": life, **known}
        case Headroom(pages):  # pragma: no branch
            return {"pages": pages}


def _memory(kib: int | None) -> Memory | None:
    return None if kib is None else Memory(kib=kib)
