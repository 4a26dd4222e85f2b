"""A fault of maxmemd that one domain leads to is that domain's, in the pusher's process as well."""

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from maxmemd.errors import DomainFault
from maxmemd.policy.orders import Order
from maxmemd.policy.verdicts import NO_EFFECTS
from maxmemd.pusher.client import PusherClient
from maxmemd.pusher.connect import SocketConnector
from maxmemd.pusher.local import LocalPusher
from maxmemd.pusher.server import PusherServer
from maxmemd.xen.simulated import SimulatedHost
from tests.pusher.orders import FLOOR, MIB, WITHIN_S


class Surprising:
    """A port whose verb meets a fault of ours with domain 2."""

    def __init__(self, inner: Any, verb: str, surprise: Exception) -> None:
        self._inner, self._verb, self._surprise = inner, verb, surprise

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)

        def met(domid: int, *args: Any, **options: Any) -> Any:
            if domid == 2:
                raise self._surprise
            return call(domid, *args, **options)

        return met if name == self._verb else call


@pytest.mark.parametrize("surprise", [ValueError("digits"), KeyError("vm"), TypeError("no")])
@pytest.mark.parametrize("verb", ["facts", "domain", "set_max_mem"])
def test_a_fault_that_one_domain_leads_to_is_answered_as_that_domains(
    tmp_path: Path, verb: str, surprise: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no malformed message: what is asked of the others is answered, and it is logged."""
    host = SimulatedHost(total=MIB(2048), dom0=MIB(256))
    for name in ("one", "two", "three"):
        host.create(name, memory=MIB(64))
    hypervisor: Any = Surprising(host.hypervisor(), verb, surprise)
    local = LocalPusher(hypervisor, Surprising(host.xenstore(), verb, surprise))  # type: ignore[arg-type]
    orders = [
        Order(domid, host.machine.domain(domid).uuid, MIB(80), raising=True, effects=NO_EFFECTS)
        for domid in (1, 2, 3)
    ]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        end_read, end_write = os.pipe()
        server = PusherServer(listener, lambda: local, FLOOR)
        thread = threading.Thread(target=server.serve, args=[end_read])
        thread.start()
        asking = PusherClient(SocketConnector(tmp_path / "s"), patience_s=WITHIN_S)
        looked = asking.look([1, 2, 3], stores=[1, 2, 3])
        outcomes = asking.push(orders)
        if verb != "set_max_mem":
            with pytest.raises(DomainFault):
                getattr(asking, verb)(2)
        assert asking.domain(1).domid == 1
        asking.close()
        os.close(end_write)
        thread.join()
        os.close(end_read)
        server.close()
    faulty = [isinstance(each.xen, DomainFault) for each in looked]
    assert faulty == [False, verb != "set_max_mem", False]
    failed = [outcome.seen is None for outcome in outcomes]
    assert failed == [False, verb != "facts", False]
    assert "malformed" not in caplog.text
    assert "a fault of maxmemd, met with domain 2" in caplog.text
