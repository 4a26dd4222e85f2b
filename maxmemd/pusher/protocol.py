"""The messages between the arbiter and the pusher: JSON behind its length.

A request is a list: a command and its arguments. A reply is {"ok": ...} or {"error": [...]}. The
pusher checks every field of a request, since the process that sends it parses HTTP and may be
compromised. Replies come from the privileged side and are trusted.
"""

import socket
import struct
from typing import Any

from pydantic_core import from_json, to_json

from maxmemd.errors import (
    DomainFault,
    DomainGone,
    HypervisorError,
    NotPermitted,
    WrongInterface,
    XenstoreError,
)
from maxmemd.policy.facts import HostFacts, StoreFacts, UnreadableNode, XenFacts
from maxmemd.policy.orders import EffectOutcome, Order, Outcome
from maxmemd.policy.states import EffectState
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from maxmemd.ports import LookResult
from maxmemd.units import DOMID_FIRST_RESERVED, Memory, kib_or_none

Json = Any
"""Decoded JSON: what it is, the function that takes it has to find out."""

LENGTH = struct.Struct("!I")
MOST_BYTES = 16 * 1024 * 1024
"""The longest message; 32,752 domains take about 5 MiB."""
MOST_DOMAINS = 4096
"""The most domains in one request; a batch has 256 wishes at most."""

_HYPERVISOR_ERRORS = {
    kind.code: kind for kind in (HypervisorError, DomainGone, NotPermitted, WrongInterface)
}


class Malformed(Exception):
    """The message does not follow this protocol."""


def send(connection: socket.socket, message: object) -> None:
    """Send one message. Raises OSError."""
    data = to_json(message)
    connection.sendall(LENGTH.pack(len(data)) + data)


def receive(connection: socket.socket) -> Json:
    """Return the next message. Raises OSError, ConnectionError at the end, and Malformed."""
    (length,) = LENGTH.unpack(_receive_exactly(connection, LENGTH.size))
    if length > MOST_BYTES:
        raise Malformed(f"{length} bytes are more than {MOST_BYTES}")
    try:
        return from_json(_receive_exactly(connection, length))
    except ValueError as error:
        raise Malformed(str(error)) from None


def _receive_exactly(connection: socket.socket, length: int) -> bytearray:
    data = bytearray()
    while len(data) < length:
        chunk = connection.recv(min(1 << 20, length - len(data)))
        if not chunk:
            raise ConnectionResetError("the connection was closed")
        data += chunk
    return data


def order_to_json(order: Order) -> list[object]:
    """Return an order as JSON."""
    effects = order.effects
    amounts = (effects.pod_target, effects.static_max, effects.target)
    kib = [kib_or_none(amount) for amount in amounts]
    return [order.domid, order.uuid, order.limit.kib, order.raising, *kib, order.unique_id]


def order_from_json(payload: Json) -> Order:
    """Return the order in a request. Raises Malformed."""
    try:
        domid, uuid, limit, raising, pod_target, static_max, target, unique_id = payload
        effects = Effects(_memory(pod_target), _memory(static_max), _memory(target))
        if type(uuid) is not str or len(uuid) != 36 or type(raising) is not bool:
            raise Malformed("an order has no UUID, or does not say whether it raises")
        if unique_id is not None and type(unique_id) is not int:
            raise Malformed("an order has a unique ID that is no number")
        effects = NO_EFFECTS if effects == NO_EFFECTS else effects
        at = domid_from_json(domid)
        return Order(at, uuid, Memory(kib=limit), raising, effects, unique_id)
    except (TypeError, ValueError) as error:
        raise Malformed(f"an order has a wrong field: {error}") from None


def domid_from_json(payload: Json) -> int:
    """Return a domid. Raises Malformed for anything that no domain can have."""
    if type(payload) is not int or not 0 <= payload < DOMID_FIRST_RESERVED:
        raise Malformed("not a domid")
    return payload


def list_from_json(payload: Json) -> list[Json]:
    """Return a list of bounded length. Raises Malformed."""
    if type(payload) is not list or len(payload) > MOST_DOMAINS:
        raise Malformed("not a list, or too long a list")
    return payload


def _memory(kib: Json) -> Memory | None:
    return None if kib is None else Memory(kib=kib)


def store_to_json(store: StoreFacts) -> list[object]:
    """Return a domain's facts from xenstore as JSON."""
    amounts = (store.target, store.static_max)
    kib = [kib_or_none(amount) for amount in amounts]
    return [store.name, *kib, store.videoram.kib, store.has_path, store.unreadable]


def store_from_json(payload: Json) -> StoreFacts:
    """Return a domain's facts from xenstore."""
    name, target, static_max, videoram, has_path, unreadable = payload
    return StoreFacts(
        name,
        _memory(target),
        _memory(static_max),
        Memory(kib=videoram),
        has_path,
        tuple(UnreadableNode(*found) for found in unreadable),
    )


def look_result_to_json(result: LookResult) -> list[object]:
    """Return what a look showed as JSON; an error stands where the facts would."""
    xen, store = result
    xen_payload = xen if isinstance(xen, XenFacts) else {"error": error_to_json(xen)}
    if isinstance(store, XenstoreError):
        return [xen_payload, {"error": error_to_json(store)}]
    return [xen_payload, None if store is None else store_to_json(store)]


def look_result_from_json(payload: Json) -> LookResult:
    """Return what a look showed."""
    xen, store = payload
    facts = error_from_json(xen["error"]) if isinstance(xen, dict) else XenFacts(*xen)
    if isinstance(facts, XenstoreError):
        raise Malformed("an error of xenstore's in the place of Xen's")
    if isinstance(store, dict):
        return LookResult(facts, _xenstore_error(store["error"]))
    return LookResult(facts, None if store is None else store_from_json(store))


def outcome_to_json(outcome: Outcome) -> list[object]:
    """Return the outcome of an order as JSON."""
    effects = [[e.name, e.state, e.amount.kib, e.errno, e.error] for e in outcome.effects]
    return [outcome.seen, outcome.gone, outcome.errno, outcome.error, effects]


def outcome_from_json(payload: Json) -> Outcome:
    """Return the outcome of an order."""
    seen, gone, errno, error, effects = payload
    tried = tuple(
        EffectOutcome(name, EffectState(state), Memory(kib=kib), *why)
        for name, state, kib, *why in effects
    )
    return Outcome(None if seen is None else XenFacts(*seen), gone, errno, error, tried)


def host_from_json(payload: Json) -> HostFacts:
    """Return the host's totals."""
    return HostFacts(**payload)


def error_to_json(error: HypervisorError | XenstoreError | DomainFault) -> list[object]:
    """Return an error as JSON."""
    if isinstance(error, DomainFault):
        return [error.code, str(error), None, None]
    domid = error.domid if isinstance(error, HypervisorError) else None
    return [error.code, error.what, domid, error.errno]


def error_from_json(payload: Json) -> HypervisorError | XenstoreError | DomainFault:
    """Return the error in a reply."""
    code, what, _, _ = payload
    if code == DomainFault.code:
        return DomainFault(what)
    return _xenstore_error(payload) if code == XenstoreError.code else _hypervisor_error(payload)


def _hypervisor_error(payload: Json) -> HypervisorError:
    code, what, domid, errno = payload
    return _HYPERVISOR_ERRORS[code](what, domid, errno)


def _xenstore_error(payload: Json) -> XenstoreError:
    _, what, _, errno = payload
    return XenstoreError(what, errno)
