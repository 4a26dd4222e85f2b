"""The watchdog of the process that pushes: a message for many domains is many steps."""

import socket
from collections.abc import Iterator

import pytest

from maxmemd.policy.orders import Order
from maxmemd.policy.verdicts import NO_EFFECTS
from maxmemd.pusher import protocol
from maxmemd.pusher.local import LocalPusher
from maxmemd.pusher.server import PusherServer
from maxmemd.units import Memory
from maxmemd.xen.simulated import SimulatedHost


class Counted:
    """A watchdog that counts."""

    def __init__(self) -> None:
        self.times = 0

    def feed(self) -> None:
        """Count."""
        self.times += 1


@pytest.fixture
def process() -> Iterator[PusherServer]:
    """Give the process, on a host with 30 guests."""
    host = SimulatedHost.with_guests(30)
    with socket.socket(socket.AF_UNIX) as listener:
        pusher = LocalPusher(host.hypervisor(), host.xenstore())
        process = PusherServer(listener, lambda: pusher, Memory(kib=0))
        process._watchdog = Counted()  # type: ignore[assignment]
        yield process
        process.close()


@pytest.mark.parametrize("verb", ["look", "push"])
def test_it_is_fed_after_every_item(process: PusherServer, verb: str) -> None:
    """However long a message is, only one item of it must end in time."""
    domids = list(range(1, 31))
    if verb == "look":
        answer = process._reply("look", [domids, domids])
    else:
        found = [process._get_pusher().domain(domid) for domid in domids]
        orders = [Order(one.domid, one.uuid, Memory.of_mib(96), True, NO_EFFECTS) for one in found]
        answer = process._reply("push", [[protocol.order_to_json(order) for order in orders]])
    assert isinstance(answer, dict)
    assert len(answer["ok"]) == process._watchdog.times == 30  # type: ignore[attr-defined]
