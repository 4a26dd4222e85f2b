"""What travels between the two processes comes out as it went in."""

import socket
from errno import EACCES, EBUSY, EIO, EPERM, ESRCH

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json, to_json

from maxmemd.errors import (
    DomainGone,
    HypervisorError,
    NotPermitted,
    WrongInterface,
    XenstoreError,
)
from maxmemd.policy.facts import NO_PATH, HostFacts, StoreFacts, UnreadableNode, XenFacts
from maxmemd.policy.orders import Order, Outcome
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from maxmemd.ports import LookResult
from maxmemd.pusher import protocol
from maxmemd.units import END_KIB, Memory

UUID = "51a70000-0000-4000-8000-00000000000a"
FACTS = XenFacts(7, UUID, 5, 8, paused=True, cpu_time_ns=2**63, unique_id=2**64 - 1)
AMOUNTS = st.none() | st.integers(0, END_KIB - 1).map(lambda kib: Memory(kib=kib))
EFFECTS = st.builds(Effects, AMOUNTS, AMOUNTS, AMOUNTS)
UNIQUE_IDS = st.none() | st.integers(1, 2**64 - 1)
LIMITS = st.integers(0, END_KIB - 1).map(lambda kib: Memory(kib=kib))


def sent(value: object) -> object:
    """Return a value as it comes out at the other end."""
    return from_json(to_json(value))


@given(st.integers(0, 0x7FEF), LIMITS, st.booleans(), EFFECTS, UNIQUE_IDS)
def test_orders(
    domid: int, limit: Memory, raising: bool, effects: Effects, unique_id: int | None
) -> None:
    """Every order that can be is the same after its journey; no effects are the one value."""
    order = Order(domid, UUID, limit, raising, effects, unique_id)
    found = protocol.order_from_json(sent(protocol.order_to_json(order)))
    assert found == order
    assert (found.effects is NO_EFFECTS) == (effects == NO_EFFECTS)


@pytest.mark.parametrize("unique_id", ["7", 7.0, True, [7]])
def test_a_unique_id_that_is_no_number_is_malformed(unique_id: object) -> None:
    """It would be compared with Xen's, and found to be another."""
    order = protocol.order_to_json(Order(7, UUID, Memory(kib=4), True, NO_EFFECTS))
    with pytest.raises(protocol.Malformed, match="unique ID"):
        protocol.order_from_json([*order[:-1], unique_id])


@pytest.mark.parametrize(
    "error",
    [
        HypervisorError("list the domains", None, EBUSY),
        DomainGone("ask for a domain", 7, ESRCH),
        NotPermitted("open /dev/xen/privcmd", None, EACCES),
        NotPermitted("set the maximum", 7, EPERM),
        WrongInterface("use the domctl interface of this Xen", None, EACCES),
        XenstoreError("read /local/domain/7", EIO),
    ],
    ids=str,
)
def test_errors(error: HypervisorError | XenstoreError) -> None:
    """An error keeps its class, its numbers and its sentence."""
    found = protocol.error_from_json(sent(protocol.error_to_json(error)))
    assert (type(found), str(found), found.errno) == (type(error), str(error), error.errno)


@pytest.mark.parametrize(
    "store",
    [
        StoreFacts(),
        StoreFacts("web", Memory(kib=0), Memory(kib=END_KIB - 1), Memory(kib=9216)),
        StoreFacts("web", unreadable=(UnreadableNode("memory/target", "abc"),)),
        NO_PATH,
        XenstoreError("read", EIO),
        None,
    ],
    ids=repr,
)
@pytest.mark.parametrize("xen", [FACTS, DomainGone("ask for a domain", 7, ESRCH)], ids=repr)
def test_looks(xen: XenFacts | HypervisorError, store: StoreFacts | XenstoreError | None) -> None:
    """What a look showed, or why it showed nothing."""
    found = protocol.look_result_from_json(
        sent(protocol.look_result_to_json(LookResult(xen, store)))
    )
    assert repr(found) == repr(LookResult(xen, store))


def test_outcomes_and_totals() -> None:
    """How an order ended, and the host."""
    for outcome in (Outcome(FACTS), Outcome(None, gone=True, errno=ESRCH, error="cannot")):
        assert protocol.outcome_from_json(sent(protocol.outcome_to_json(outcome))) == outcome
    host = HostFacts(1, 2, 3, 4, "Xen 4.17.7", 5, 6)
    names = {name: getattr(host, name) for name in HostFacts.__slots__}
    assert protocol.host_from_json(sent(names)) == host


def test_messages_follow_one_another() -> None:
    """Two messages in one packet are two; half of one is not one."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        protocol.send(ours, ["domain", 1])
        protocol.send(ours, {"ok": None})
        assert protocol.receive(theirs) == ["domain", 1]
        assert protocol.receive(theirs) == {"ok": None}
        ours.sendall(b"\0\0\0\4[")
        ours.close()
        with pytest.raises(ConnectionError):
            protocol.receive(theirs)
