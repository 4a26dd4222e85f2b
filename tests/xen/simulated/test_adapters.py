"""The simulated host keeps the contract, with guests of every kind."""

from collections.abc import Iterator
from typing import Literal

import pytest

from maxmemd.units import Memory
from maxmemd.xen.simulated import SimulatedHost
from tests.support.contract_hypervisor import CLAUSES, Clause, World

UUID = "51a70000-0000-4000-8000-00000000000a"


@pytest.fixture(params=[False, True], ids=["4.20", "4.21"])
def unique_ids(request: pytest.FixtureRequest) -> bool:
    """Return whether the host's Xen has unique IDs."""
    return bool(request.param)


@pytest.fixture(params=["pv", "pvh", "hvm"])
def world(request: pytest.FixtureRequest, unique_ids: bool) -> Iterator[World]:
    """Give a host with one running guest that balloons, and a neighbour."""
    kind: Literal["pv", "pvh", "hvm"] = request.param
    host = SimulatedHost(total=Memory.of_mib(8192), unique_ids=unique_ids)
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


def test_a_host_without_unique_ids_tells_none(unique_ids: bool) -> None:
    """One that has them gives each domain another, also where domid and UUID come again."""
    host = SimulatedHost(total=Memory.of_mib(8192), unique_ids=unique_ids)
    seen = []
    for _ in range(2):
        domid = host.create("web", memory=Memory.of_mib(64), uuid=UUID, domid=5)
        seen.append(host.machine.domain(domid))
        host.destroy(domid)
    assert [(fact.domid, fact.uuid) for fact in seen] == [(5, UUID)] * 2
    assert {fact.unique_id is not None for fact in seen} == {unique_ids}
    assert (seen[0].unique_id == seen[1].unique_id) != unique_ids
