"""xenstore's nodes and watches."""

import threading
from collections.abc import Callable, Iterator

import pytest

from maxmemd.errors import DomainGone
from maxmemd.policy.facts import NO_PATH, StoreFacts
from maxmemd.units import Memory
from maxmemd.xen.simulated import SimulatedHost, SimulatedXenstore

MIB = Memory.of_mib(1)


@pytest.fixture
def host() -> SimulatedHost:
    """Return a host with one guest, of domid 1."""
    host = SimulatedHost(total=Memory.of_mib(8192))
    host.create("web", memory=Memory.of_mib(128), maxmem=Memory.of_mib(256))
    return host


@pytest.fixture
def xenstore(host: SimulatedHost) -> Iterator[SimulatedXenstore]:
    """Give a connection that is closed in the end."""
    xenstore = host.xenstore()
    yield xenstore
    xenstore.close()


class Calls:
    """Counts how often it was called."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        """Count."""
        self.count += 1


def test_a_watch_fires_for_every_change_of_the_population(
    host: SimulatedHost, xenstore: SimulatedXenstore
) -> None:
    """At registration, at introduce, at shutdown, and again at death (A5)."""
    calls = Calls()
    counts = []

    def note() -> None:
        assert xenstore.wait_until_quiet()
        counts.append(calls.count)

    xenstore.watch(calls)
    note()
    domid = host.create("db", memory=MIB)
    note()
    host.shutdown(domid)
    note()
    host.destroy(domid)
    note()
    assert counts == [1, 2, 3, 4]


def test_nothing_tells_of_a_domain_before_it_is_introduced(
    host: SimulatedHost, xenstore: SimulatedXenstore
) -> None:
    """By then its maximum is set and its memory populated (A4)."""
    calls = Calls()
    xenstore.watch(calls)
    assert xenstore.wait_until_quiet()
    for step in host.creating("db", kind="hvm", memory=Memory.of_mib(64)):
        assert xenstore.wait_until_quiet()
        seen = host.machine.domain(step.domid)
        built = seen.tot_pages > 0 and seen.max_pages > 0
        assert calls.count == (2 if step.name in ("introduced", "device-model", "running") else 1)
        assert built or calls.count == 1


def test_neither_a_maximum_nor_a_node_fires(
    host: SimulatedHost, xenstore: SimulatedXenstore
) -> None:
    """A foreign maximum causes no event: only polling finds it (A7)."""
    calls = Calls()
    xenstore.watch(calls)
    assert xenstore.wait_until_quiet()
    host.foreign_write(1, MIB)
    host.write_nodes(1, host.machine.domain(1).uuid, target=MIB)
    host.pause(1)
    assert xenstore.wait_until_quiet()
    assert calls.count == 1


def test_what_happens_during_a_call_is_one_more_call(
    host: SimulatedHost, xenstore: SimulatedXenstore
) -> None:
    """A hundred events while the callee is busy are one (A5)."""
    entered, leave, calls = threading.Event(), threading.Event(), Calls()

    def slow() -> None:
        calls()
        entered.set()
        assert leave.wait(10)

    xenstore.watch(slow)
    assert entered.wait(10)
    for _ in range(100):
        host.nodes.fire()
    assert not xenstore.wait_until_quiet(timeout_s=0)
    leave.set()
    assert xenstore.wait_until_quiet()
    assert calls.count == 2


def test_the_callee_may_ask_the_host(host: SimulatedHost, xenstore: SimulatedXenstore) -> None:
    """The thread that calls holds no lock, and is not the caller's."""
    seen: list[object] = []

    def look() -> None:
        seen.append((len(host.machine.domains()), threading.current_thread().name))

    xenstore.watch(look)
    assert xenstore.wait_until_quiet()
    assert seen == [(2, "simulated-xenstore")]


def test_close_ends_the_watches(host: SimulatedHost, xenstore: SimulatedXenstore) -> None:
    """No call begins afterwards, and the threads are gone; closing twice is harmless."""
    calls = Calls()
    xenstore.watch(calls)
    xenstore.watch(calls)
    assert xenstore.wait_until_quiet()
    xenstore.close()
    xenstore.close()
    host.nodes.fire()
    assert calls.count == 2
    assert "simulated-xenstore" not in {thread.name for thread in threading.enumerate()}


def test_the_callee_may_close(host: SimulatedHost) -> None:
    """A watch that ends itself does not wait for itself."""
    xenstore, done = host.xenstore(), threading.Event()
    ready = threading.Event()

    def end() -> None:
        assert ready.wait(10)
        xenstore.close()
        done.set()

    xenstore.watch(end)
    ready.set()
    assert done.wait(10)


def test_a_target_is_written_as_libxl_does(
    host: SimulatedHost, xenstore: SimulatedXenstore
) -> None:
    """memory/target in KiB, and /vm/UUID/memory in MiB, rounded down."""
    uuid = host.machine.domain(1).uuid
    xenstore.write(1, uuid, target=Memory(kib=102_399), static_max=Memory(kib=204_800))
    assert host.nodes.read("/local/domain/1/memory/target") == "102399"
    assert host.nodes.read("/local/domain/1/memory/static-max") == "204800"
    assert host.nodes.read(f"/vm/{uuid}/memory") == "99"
    assert host.nodes.read("/local/domain/1/vm") == f"/vm/{uuid}"


def test_what_is_not_there_reads_none(host: SimulatedHost) -> None:
    """Neither path nor domain nor UUID."""
    for path in ("/local/domain/1/no", "/local/domain/9/name", "/vm/nobody/memory"):
        assert host.nodes.read(path) is None


@pytest.mark.parametrize("value", ["-1", "", "many", "4503599627370496", "²"])
def test_a_node_without_a_number_is_none_and_named(host: SimulatedHost, value: str) -> None:
    """Any program may write nonsense; -1 video RAM is dom0less's word for none."""
    nodes = ["memory/target", "memory/static-max", "memory/videoram"]
    host.nodes.put(1, dict.fromkeys(nodes, value))
    seen = host.nodes.facts(1)
    assert seen == StoreFacts("web", unreadable=seen.unreadable)
    assert [each.node for each in seen.unreadable] == nodes[: 2 if value == "-1" else 3]


@pytest.mark.parametrize("vm", ["vm/{}", "/vm/{}", "/vm/{}-1", "/VM", None, ""])
def test_a_vm_node_that_names_no_other_domain_is_no_reason_not_to_write(
    host: SimulatedHost, xenstore: SimulatedXenstore, vm: str | None
) -> None:
    """dom0less tools write vm/UUID, and the xenstore domain has no vm node."""
    uuid = host.machine.domain(1).uuid
    host.nodes.drop(1, "vm")
    if vm is not None:
        host.nodes.put(1, {"vm": vm.format(uuid)})
    xenstore.write(1, uuid, target=MIB, static_max=MIB)
    assert (xenstore.facts(1).target, xenstore.facts(1).static_max) == (MIB, MIB)
    assert host.nodes.read(f"/vm/{uuid}/memory") == "1"


def test_a_path_without_a_vm_node_is_removed_like_any(host: SimulatedHost) -> None:
    """The domain ends, and its path with it."""
    host.nodes.drop(1, "vm", "no-such-node")
    host.destroy(1)
    assert host.nodes.facts(1) == NO_PATH


def test_a_reused_domid_is_not_written(host: SimulatedHost, xenstore: SimulatedXenstore) -> None:
    """The successor has another UUID, so the write for the predecessor is refused (A6)."""
    uuid = host.machine.domain(1).uuid
    host.destroy(1)
    assert_gone(lambda: xenstore.write(1, uuid, target=MIB, static_max=MIB))
    assert xenstore.facts(1) == NO_PATH
    host.create("other", memory=MIB, domid=1)
    before = xenstore.facts(1)
    assert_gone(lambda: xenstore.write(1, uuid, target=MIB + MIB, static_max=None))
    assert_gone(lambda: host.nodes.put(9, {"name": "nobody"}))
    assert xenstore.facts(1) == before


def test_xenstore_knows_nothing_of_the_maximum(
    host: SimulatedHost, xenstore: SimulatedXenstore
) -> None:
    """Writing nodes reaches no hypercall, and the other way round (A10)."""
    before, held = xenstore.facts(1), host.machine.domain(1).max_pages
    xenstore.write(1, host.machine.domain(1).uuid, target=None, static_max=MIB)
    assert host.machine.domain(1).max_pages == held
    host.foreign_write(1, MIB)
    assert xenstore.facts(1).target == before.target


def assert_gone(call: Callable[[], object]) -> None:
    """Check that a call raises DomainGone."""
    with pytest.raises(DomainGone):
        call()
