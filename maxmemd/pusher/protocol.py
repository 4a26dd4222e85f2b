"""What travels between the arbiter and the process that pushes: JSON behind its length.

A request is a list of a verb and its words; an answer is {"ok": ...} or {"error": [...]}. What a
request says is checked word by word: whoever sends it may have been taken over.
"""

import socket
import struct
from typing import Any

from pydantic_core import from_json, to_json

from maxmemd.errors import (
    DomainGone,
    HypervisorError,
    NotPermitted,
    WrongInterface,
    XenstoreError,
)
from maxmemd.policy.facts import HostFacts, StoreFacts, XenFacts
from maxmemd.policy.orders import Order, Outcome
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from maxmemd.ports import LookResult
from maxmemd.units import DOMID_FIRST_RESERVED, Memory

LENGTH = struct.Struct("!I")
MOST_BYTES = 16 * 1024 * 1024
"""No message is longer: 32,752 domains are about 5 MiB."""
MOST_DOMAINS = 4096
"""What one request may be about; a batch has 256 wishes at most."""


_HYPERVISORS = {
    kind.code: kind for kind in (HypervisorError, DomainGone, NotPermitted, WrongInterface)
}


class Malformed(Exception):
    """A message that is not one of ours."""


def send(to: socket.socket, value: object) -> None:
    """Send one message. Raises OSError."""
    data = to_json(value)
    to.sendall(LENGTH.pack(len(data)) + data)


def receive(source: socket.socket) -> Any:
    """Return the next message. Raises OSError, ConnectionError at the end, and Malformed."""
    (length,) = LENGTH.unpack(_exactly(source, LENGTH.size))
    if length > MOST_BYTES:
        raise Malformed(f"a message of {length} bytes")
    try:
        return from_json(_exactly(source, length))
    except ValueError as error:
        raise Malformed(str(error)) from None


def _exactly(source: socket.socket, length: int) -> bytearray:
    data = bytearray()
    while len(data) < length:
        part = source.recv(min(1 << 20, length - len(data)))
        if not part:
            raise ConnectionResetError("the other end is gone")
        data += part
    return data


def order_to_json(order: Order) -> list[object]:
    """Return an order as it travels."""
    effects = order.effects
    amounts = (effects.pod_target, effects.static_max, effects.target)
    kib = [None if amount is None else amount.kib for amount in amounts]
    return [order.domid, order.uuid, order.limit.kib, order.raising, *kib]


def order_from_json(words: Any) -> Order:
    """Return the order that these words say. Raises Malformed."""
    try:
        domid, uuid, limit, raising, pod_target, static_max, target = words
        effects = Effects(_amount(pod_target), _amount(static_max), _amount(target))
        if type(uuid) is not str or len(uuid) != 36 or type(raising) is not bool:
            raise Malformed("an order without a UUID")
        effects = NO_EFFECTS if effects == NO_EFFECTS else effects
        return Order(domid_from_json(domid), uuid, Memory(kib=limit), raising, effects)
    except (TypeError, ValueError) as error:
        raise Malformed(f"an order that says {error}") from None


def domid_from_json(word: Any) -> int:
    """Return a domid. Raises Malformed for anything that no domain can have."""
    if type(word) is not int or not 0 <= word < DOMID_FIRST_RESERVED:
        raise Malformed("no domid")
    return word


def list_from_json(word: Any) -> list[Any]:
    """Return a list that is not too long. Raises Malformed."""
    if type(word) is not list or len(word) > MOST_DOMAINS:
        raise Malformed("no list, or one that is too long")
    return word


def _amount(kib: Any) -> Memory | None:
    return None if kib is None else Memory(kib=kib)


def store_to_json(store: StoreFacts) -> list[object]:
    """Return what xenstore says of a domain as it travels."""
    amounts = (store.target, store.static_max)
    kib = [None if amount is None else amount.kib for amount in amounts]
    return [store.name, *kib, store.videoram.kib]


def store_from_json(words: Any) -> StoreFacts:
    """Return what these words say of a domain's nodes."""
    name, target, static_max, videoram = words
    return StoreFacts(name, _amount(target), _amount(static_max), Memory(kib=videoram))


def looked_to_json(looked: LookResult) -> list[object]:
    """Return what a look showed as it travels."""
    xen, store = looked
    shown = {"error": error_to_json(xen)} if isinstance(xen, HypervisorError) else xen
    if isinstance(store, XenstoreError):
        return [shown, {"error": error_to_json(store)}]
    return [shown, None if store is None else store_to_json(store)]


def looked_from_json(words: Any) -> LookResult:
    """Return what a look showed."""
    xen, store = words
    shown = error_from_json(xen["error"]) if isinstance(xen, dict) else XenFacts(*xen)
    nodes = error_from_json(store["error"]) if isinstance(store, dict) else store
    return LookResult(shown, store_from_json(nodes) if isinstance(nodes, list) else nodes)


def outcome_to_json(outcome: Outcome) -> list[object]:
    """Return how an order ended as it travels."""
    return list(outcome)


def outcome_from_json(words: Any) -> Outcome:
    """Return how an order ended."""
    seen, gone, errno, error = words
    return Outcome(None if seen is None else XenFacts(*seen), gone, errno, error)


def host_from_json(words: Any) -> HostFacts:
    """Return the host's totals."""
    return HostFacts(**words)


def error_to_json(error: HypervisorError | XenstoreError) -> list[object]:
    """Return an error as it travels."""
    domid = error.domid if isinstance(error, HypervisorError) else None
    return [error.code, error.what, domid, error.errno]


def error_from_json(words: Any) -> Any:
    """Return the error that these words say."""
    code, what, domid, errno = words
    if code == XenstoreError.code:
        return XenstoreError(what, errno)
    return _HYPERVISORS[code](what, domid, errno)
