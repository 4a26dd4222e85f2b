"""The simulated host in a process of its own keeps the same contract."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from errno import EBUSY
from pathlib import Path

import pytest

from maxmemd.errors import HypervisorError, NotPermitted, XenstoreError
from maxmemd.units import Memory
from maxmemd.xen.simulated import Floor
from tests.support.contract_hypervisor import CLAUSES, Clause, World
from tests.support.simhost import SimHost

MIB = Memory.of_mib(1)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sim() -> Iterator[SimHost]:
    """Give a process with one running HVM guest, of domid 1."""
    with SimHost() as sim:
        sim.call("create", "db", kind="hvm", memory=Memory.of_mib(128), maxmem=Memory.of_mib(256))
        yield sim


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
def test_clause(clause: Clause, sim: SimHost) -> None:
    """The clause holds across processes."""
    hypervisor, xenstore = sim.hypervisor(), sim.xenstore()
    uuid = hypervisor.domain(1).uuid
    clause(World(hypervisor, xenstore, 1, uuid, "hvm", unused_domid=77))
    xenstore.close()
    hypervisor.close()


def test_what_a_killed_client_set_stays(sim: SimHost) -> None:
    """The host outlives a client that died in the middle."""
    source = (
        "import os, pathlib, sys\n"
        "from maxmemd.units import Memory\n"
        "from tests.support.simhost import RemoteHypervisor, RemoteXenstore\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "RemoteXenstore(path).watch(lambda: None)\n"
        "RemoteHypervisor(path).set_max_mem(1, Memory.of_mib(777))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", source, str(sim.path)]
    ended = subprocess.run(command, cwd=ROOT, check=False)
    assert ended.returncode == -9
    assert sim.call("machine.domain", 1).max_pages == Memory.of_mib(777).pages
    sim.call("foreign_write", 1, Memory.of_mib(129))


def test_lives_and_watches_cross_over(sim: SimHost) -> None:
    """A domain that is made by one client is announced to another."""
    xenstore, told = sim.xenstore(), threading.Semaphore(0)
    xenstore.watch(told.release)
    assert told.acquire(timeout=60)
    domid = sim.call("create", "web", memory=MIB, guest=Floor(minimum=MIB))
    assert told.acquire(timeout=60)
    sim.call("destroy", domid)
    assert told.acquire(timeout=60)
    xenstore.close()


def test_errors_keep_class_and_numbers(sim: SimHost) -> None:
    """What the host raises, the client raises."""
    hypervisor, xenstore = sim.hypervisor(), sim.xenstore()
    sim.call("fail", "set_max_mem", 1)
    sim.call("fail", "domains", EBUSY)
    sim.call("set_xenstore_away", True)
    with pytest.raises(NotPermitted) as refused:
        hypervisor.set_max_mem(1, MIB)
    with pytest.raises(HypervisorError) as busy:
        hypervisor.domains()
    with pytest.raises(XenstoreError):
        xenstore.facts(1)
    sim.call("heal")
    assert (refused.value.domid, refused.value.errno) == (1, 1)
    assert (busy.value.domid, busy.value.errno) == (None, EBUSY)
    assert xenstore.facts(1).name == "db"
    hypervisor.close()
    xenstore.close()
