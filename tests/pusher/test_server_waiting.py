"""Requests that waited in the pusher's socket: only those are done whose daemon is still there."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from maxmemd.policy.orders import Order
from maxmemd.policy.verdicts import NO_EFFECTS
from maxmemd.pusher import protocol
from maxmemd.pusher.local import LocalPusher
from maxmemd.pusher.server import PusherServer
from maxmemd.xen.simulated import SimulatedHost
from tests.pusher.orders import FLOOR, MIB, WITHIN_S


def closed(connection: socket.socket) -> None:
    """Close, as a daemon does that gave up, or was killed."""
    connection.close()


def shut(connection: socket.socket) -> None:
    """Say that no more will be sent."""
    connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("goes", [closed, shut])
def test_an_order_of_a_daemon_that_has_gone_is_dropped(
    tmp_path: Path, goes: Callable[[socket.socket], None]
) -> None:
    """What the daemon of today orders is done, whichever came first."""
    host = SimulatedHost.with_guests(2)
    domids = [seen.domid for seen in host.hypervisor().domains() if seen.domid]
    before = [host.machine.domain(domid).max_pages for domid in domids]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        links = []
        for domid in domids:
            uuid = host.machine.domain(domid).uuid
            order = Order(domid, uuid, MIB(77), raising=False, effects=NO_EFFECTS)
            links.append(socket.socket(socket.AF_UNIX))
            links[-1].connect(str(tmp_path / "s"))
            links[-1].settimeout(WITHIN_S)
            protocol.send(links[-1], ["push", [protocol.order_to_json(order)]])
        goes(links[0])
        local = LocalPusher(host.hypervisor(), host.xenstore())
        server = PusherServer(listener, lambda: local, FLOOR)
        end_read, end_write = os.pipe()
        thread = threading.Thread(target=server.serve, args=[end_read])
        thread.start()
        try:
            assert "ok" in protocol.receive(links[1])
        finally:
            os.close(end_write)
            thread.join()
            server.close()
            os.close(end_read)
            for link in links:
                link.close()
    now = [host.machine.domain(domid).max_pages for domid in domids]
    assert now == [before[0], MIB(77).pages]
