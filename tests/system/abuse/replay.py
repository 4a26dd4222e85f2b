"""The history, decided on again from nothing: what it says was granted must be what it led to."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maxmemd.policy.codec import record_from_state, state_to_json
from maxmemd.policy.components import Record
from maxmemd.policy.decide import Picture, decide
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.rules import Rules
from maxmemd.policy.verdicts import Grant
from maxmemd.policy.wishes import (
    Increase,
    RemoveComponent,
    SetComponent,
    SetMaxMem,
    SetTarget,
    Wish,
)
from maxmemd.units import Memory


@dataclass
class Replayed:
    """The records that the wishes lead to, and how many lines of each kind there were."""

    records: dict[str, Record] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)


def replay(database: Path, stores: Mapping[str, StoreFacts]) -> Replayed:
    """Fold the history. `stores` is what xenstore said of each domain before the first entry.

    Every granted wish is decided on afresh, with what the wishes before it led to; the record
    that comes out must be the one that the line says was committed.
    """
    found, now = Replayed(), dict(stores)
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        lines = connection.execute(
            "SELECT seq, uuid, revision, kind, wish, state FROM history ORDER BY seq"
        )
        for seq, uuid, revision, kind, wish, state in lines:
            times = json.loads(wish).get("again", 1)  # a refusal may stand for several
            found.kinds[kind] = found.kinds.get(kind, 0) + times
            if state is None:
                continue
            committed = record_from_state(uuid, revision, json.loads(state))
            if kind != "adopted":
                before, store = found.records[uuid], now[uuid]
                xen = XenFacts(domid=1, uuid=uuid, tot_pages=0, max_pages=0)
                picture = Picture(Rules(), before, xen, store)
                grant = decide(picture, wish_of(kind, json.loads(wish)))
                assert isinstance(grant, Grant), (seq, grant)
                assert grant.record.revision == committed.revision == before.revision + 1, seq
                assert state_to_json(grant.record) == state_to_json(committed), seq
                now[uuid] = store._replace(
                    target=_given(grant.effects.target, store.target),
                    static_max=_given(grant.effects.static_max, store.static_max),
                )
            found.records[uuid] = committed
    return found


def wish_of(kind: str, words: Mapping[str, Any]) -> Wish:
    """Return the wish that a line's words stand for."""
    match kind:
        case "mem-max":
            return SetMaxMem(Memory(kib=words["max_mem_kib"]), words.get("force", False))
        case "mem-set":
            target = words.get("target_kib")
            amount = None if target is None else Memory(kib=target)
            return SetTarget(amount, words.get("by_kib"), words["enforce"])
        case "component-set":
            return SetComponent(_key(words), Memory(kib=words["amount_kib"]))
        case "component-removed":
            return RemoveComponent(_key(words))
        case "component-increased":
            return Increase(_key(words), words["by_kib"])
    raise AssertionError(f"no wish of this kind was made here: {kind}")


def _key(words: Mapping[str, Any]) -> tuple[str, str]:
    return words["owner"], words["name"]


def _given(asked: Memory | None, before: Memory | None) -> Memory | None:
    return before if asked is None else asked
