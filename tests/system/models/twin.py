"""A second one of a thing, fast: what changes is copied, what is frozen is shared."""

import threading
import types
from collections import OrderedDict, deque
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from maxmemd.arbiter.conditions import Condition
from maxmemd.policy.components import Component, Record
from maxmemd.policy.drift import DriftMode, SetMode
from maxmemd.policy.endings import Ending
from maxmemd.policy.entries import BuildState, Entry, InstanceRow, PushRow
from maxmemd.policy.facts import StoreFacts, UnreadableNode, XenFacts
from maxmemd.policy.fights import Fight
from maxmemd.policy.orders import EffectOutcome
from maxmemd.policy.outlook import TargetAboveLimit
from maxmemd.policy.rules import Rules
from maxmemd.policy.states import BuildPhase, EffectState, PushState
from maxmemd.policy.verdicts import Effects
from maxmemd.pusher.local import LocalPusher
from maxmemd.units import Memory

FROZEN = frozenset({
    int, float, str, bytes, bool, type(None), frozenset, type,
    types.FunctionType, types.BuiltinFunctionType, types.MappingProxyType,
    Memory, Component, Record, Entry, InstanceRow, PushRow, StoreFacts, XenFacts, Effects, Rules,
    Ending, BuildState,
    PushState, BuildPhase, EffectState, EffectOutcome, UnreadableNode,
    TargetAboveLimit, Condition, DriftMode, SetMode, Fight,
    type(threading.Lock()), type(threading.RLock()),
})  # fmt: skip
"""Types whose values never change, and locks, which no other thread holds here."""


def twin(thing: Any, known: dict[int, Any] | None = None) -> Any:
    """Return a thing that is the same and shares nothing that changes."""
    return _twin(thing, {} if known is None else known)


def _twin(thing: Any, known: dict[int, Any]) -> Any:
    kind = type(thing)
    if kind in FROZEN or _is_frozen(kind):
        return thing
    found = known.get(id(thing))
    if found is not None:
        return found
    if kind in (dict, OrderedDict, list, set, deque, tuple):
        return _container(thing, kind, known)
    if issubclass(kind, tuple):  # a named one, of things that may change
        return kind(*(_twin(value, known) for value in thing))
    if kind is types.MethodType:
        return types.MethodType(thing.__func__, _twin(thing.__self__, known))
    other = known[id(thing)] = object.__new__(kind)
    for name in _slots(kind):
        value = getattr(thing, name)
        object.__setattr__(other, name, value if type(value) in FROZEN else _twin(value, known))
    if hasattr(thing, "__dict__"):
        for name, value in thing.__dict__.items():
            other.__dict__[name] = value if type(value) in FROZEN else _twin(value, known)
    return other


def _container(thing: Any, kind: type, known: dict[int, Any]) -> Any:
    if kind is tuple:
        return tuple(value if type(value) in FROZEN else _twin(value, known) for value in thing)
    other: Any = deque(maxlen=thing.maxlen) if kind is deque else kind()
    known[id(thing)] = other
    if kind in (dict, OrderedDict):
        for key, value in thing.items():
            kept = key if type(key) in FROZEN else _twin(key, known)
            other[kept] = value if type(value) in FROZEN else _twin(value, known)
    elif kind is set:
        other.update(value if type(value) in FROZEN else _twin(value, known) for value in thing)
    else:
        other.extend(value if type(value) in FROZEN else _twin(value, known) for value in thing)
    return other


@cache
def _is_frozen(kind: type) -> bool:
    """Whether it is a value. The pusher is frozen, but the host that it holds changes."""
    if issubclass(kind, LocalPusher):
        return False
    return is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]


@cache
def _slots(kind: type) -> tuple[str, ...]:
    """Return the names of a type's slots; a dataclass with slots has its fields there."""
    found: list[str] = []
    for one in kind.__mro__:
        slots = one.__dict__.get("__slots__", ())
        found += [slots] if isinstance(slots, str) else slots
    names = [name for name in found if name not in ("__dict__", "__weakref__")]
    if is_dataclass(kind) and not names and not hasattr(kind, "__dict__"):
        names = [one.name for one in fields(kind)]
    return tuple(names)
