"""The adapters keep, on a real Xen, the contract that the simulated host keeps."""

from pathlib import Path

import pytest

from tests.dom0.guests import Guest, created
from tests.dom0.rig import Rig
from tests.support import contract_hypervisor
from tests.support.contract_hypervisor import CLAUSES, Clause

CONTRACT = Path(contract_hypervisor.__file__)
NAMES = [clause.__name__ for clause in CLAUSES]


@pytest.mark.parametrize("clause", CLAUSES, ids=NAMES)
def test_clause(alone: Rig, guest: Guest, clause: Clause) -> None:
    """The clause holds for PV, PVH and HVM guests."""
    alone.put("/opt/rig/contract_hypervisor.py", CONTRACT.read_bytes())
    alone.call(run_clause, clause.__name__, guest.domid, guest.uuid, guest.kind)


def test_a_missing_domid_below_another_is_gone(alone: Rig) -> None:
    """Xen 4.17 answers for the next higher domain; the adapter does not (A3)."""
    with created(alone, "pv2", paused=True) as lower, created(alone, "hvm2", paused=True):
        hole = lower.domid
        lower.destroy()
        assert alone.call(ask_for, hole) == "DomainGone"


def test_the_adapter_agrees_with_xens_own_binding(alone: Rig, guest: Guest) -> None:
    """What never moves by itself reads the same through libxenctrl and through the adapter."""
    info = guest.info
    seen = alone.call(facts_of, guest.domid)
    assert (seen["uuid"], seen["max_pages"]) == (info["uuid"], info["maxmem_kb"] // 4)
    assert (seen["hvm"], seen["vcpus_online"]) == (bool(info["hvm"]), info["online_vcpus"])


def test_another_interface_version_is_a_wrong_interface(alone: Rig) -> None:
    """Every version but the running one answers EACCES, and the running ones are found (A2)."""
    found, release = alone.call(probe), alone.release
    running = {"domctl": release.domctl, "sysctl": release.sysctl, "entry": 112}
    assert found == {**running, "wrong": "WrongInterface 13"}


def test_the_name_and_the_totals_are_xls(alone: Rig) -> None:
    """The host's numbers are those of `xl info`."""
    host = alone.call(host_facts)
    told = alone.run("xl info xen_version; xl info total_memory").check().stdout.split()
    assert [host["hypervisor"], host["total_pages"] // 256] == [f"Xen {told[0]}", int(told[1])]


def test_the_watch_survives_a_connection_that_is_cut(alone: Rig) -> None:
    """A reader reconnects after its connection is lost, and so does the watch."""
    assert alone.call(cut_and_ask) == ["Domain-0", True]


def run_clause(name: str, domid: int, uuid: str, kind: str) -> None:
    """Run one clause of the contract, in dom0."""
    import importlib

    from maxmemd.xen.xencall import Xencall
    from maxmemd.xen.xenstore import Xenstored

    contract = importlib.import_module("contract_hypervisor")  # put into dom0 by the test
    hypervisor, xenstore = Xencall(), Xenstored()
    unused = max(seen.domid for seen in hypervisor.domains()) + 100
    world = contract.World(hypervisor, xenstore, domid, uuid, kind, unused)
    try:
        getattr(contract, name)(world)
    finally:
        xenstore.close()
        hypervisor.close()


def ask_for(domid: int) -> str:
    """Return what asking for a domain ends with, in dom0."""
    from maxmemd.errors import HypervisorError
    from maxmemd.xen.xencall import Xencall

    try:
        return str(Xencall().domain(domid))
    except HypervisorError as error:
        return type(error).__name__


def facts_of(domid: int) -> dict[str, object]:
    """Return a domain's facts, in dom0."""
    from maxmemd.xen.xencall import Xencall

    return Xencall().domain(domid)._asdict()


def host_facts() -> dict[str, object]:
    """Return the host's facts, in dom0."""
    from dataclasses import asdict

    from maxmemd.xen.xencall import Xencall

    return asdict(Xencall().host())


def probe() -> dict[str, object]:
    """Return what the adapter found out about this Xen, and what a wrong version ends with."""
    from maxmemd.errors import HypervisorError
    from maxmemd.xen.xencall import Xencall

    xen = Xencall()
    found: dict[str, object] = {
        "domctl": xen._domctl_version,
        "sysctl": xen._sysctl_version,
        "entry": xen._entry.size,
    }
    xen._domctl_version = 0x14
    try:
        xen.domain(0)
    except HypervisorError as error:
        found["wrong"] = f"{type(error).__name__} {error.errno}"
    return found


def cut_and_ask() -> list[object]:
    """Cut both connections under the adapter; return what it reads, and whether the watch calls."""
    import contextlib
    import os
    import socket
    import threading
    import time

    from maxmemd.xen.xenstore import Xenstored

    xenstore = Xenstored()
    called = threading.Event()
    xenstore.facts(0)
    xenstore.watch(called.set)
    called.wait(10)
    time.sleep(1)
    called.clear()
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
            connection.shutdown(socket.SHUT_RDWR)
    return [xenstore.facts(0).name, called.wait(10)]
