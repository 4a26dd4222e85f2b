"""The simulated host keeps the contract, with guests of every kind."""

from collections.abc import Iterator
from typing import Literal

import pytest

from maxmemd.units import Memory
from maxmemd.xen.simulated import SimulatedHost
from tests.support.contract_hypervisor import CLAUSES, Clause, World


@pytest.fixture(params=["pv", "pvh", "hvm"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Give a host with one running guest that balloons, and a neighbour."""
    kind: Literal["pv", "pvh", "hvm"] = request.param
    host = SimulatedHost(total=Memory.of_mib(8192))
    domid = host.create("guest", kind=kind, memory=Memory.of_mib(128), maxmem=Memory.of_mib(256))
    host.create("neighbour", memory=Memory.of_mib(64))
    hypervisor, xenstore = host.hypervisor(), host.xenstore()
    uuid = hypervisor.domain(domid).uuid
    yield World(hypervisor, xenstore, domid, uuid, kind, unused_domid=77)
    xenstore.close()
    hypervisor.close()


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
def test_clause(clause: Clause, world: World) -> None:
    """The clause holds."""
    clause(world)
