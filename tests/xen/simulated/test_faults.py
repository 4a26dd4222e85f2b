"""Faults on demand."""

from collections.abc import Callable
from errno import EACCES, EAGAIN, EBUSY, EPERM, ESRCH

import pytest

from maxmemd.errors import (
    DomainGone,
    HypervisorError,
    NotPermitted,
    WrongInterface,
    XenstoreError,
)
from maxmemd.units import UNLIMITED_PAGES, Memory
from maxmemd.xen.simulated import SimulatedHost

MIB = Memory.of_mib(1)


class Scene:
    """A host with two guests, whose sleeps are noted instead of slept."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.host = SimulatedHost(total=Memory.of_mib(4096), sleep=self.slept.append)
        for name in ("one", "two"):
            self.host.create(name, memory=Memory.of_mib(64))
        self.xen, self.store = self.host.hypervisor(), self.host.xenstore()
        self.uuid = self.xen.domain(1).uuid

    def calls(self) -> dict[str, Callable[[], object]]:
        """Return a call of every verb that can be disturbed."""
        return {
            "domains": self.xen.domains,
            "domain": lambda: self.xen.domain(1),
            "host": self.xen.host,
            "set_max_mem": lambda: self.xen.set_max_mem(1, MIB),
            "set_pod_target": lambda: self.xen.set_pod_target(1, MIB),
            "populate": lambda: self.host.populate(1, 0),
            "facts": lambda: self.store.facts(1),
            "write": lambda: self.store.write(1, self.uuid, target=MIB, static_max=MIB),
        }


VERBS = list(Scene().calls())


@pytest.fixture
def scene() -> Scene:
    """Return a scene."""
    return Scene()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_can_fail(scene: Scene, verb: str) -> None:
    """With an errno of one's choice, as the port's own error."""
    scene.host.fail(verb, EBUSY)
    expected = XenstoreError if verb in ("facts", "write") else HypervisorError
    for _ in range(3):
        with pytest.raises(expected) as caught:
            scene.calls()[verb]()
        assert caught.value.errno == EBUSY  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_can_be_slow(scene: Scene, verb: str) -> None:
    """The injected sleep is called each time, until the delay is 0."""
    scene.host.delay(verb, 0.25)
    if verb == "set_pod_target":
        with pytest.raises(HypervisorError):
            scene.calls()[verb]()
    else:
        scene.calls()[verb]()
    scene.host.delay(verb, 0)
    scene.host.machine.domain(1)
    assert scene.slept == [0.25]


@pytest.mark.parametrize(
    ("errno", "kind"), [(ESRCH, DomainGone), (EPERM, NotPermitted), (EACCES, WrongInterface)]
)
def test_an_errno_has_its_class(scene: Scene, errno: int, kind: type[HypervisorError]) -> None:
    """As from the real Xen; a call that failed did nothing."""
    before = scene.xen.domain(1)
    scene.host.fail("set_max_mem", errno)
    with pytest.raises(kind):
        scene.xen.set_max_mem(1, MIB)
    assert scene.xen.domain(1) == before


def test_a_fault_may_be_of_one_domain_and_end_by_itself(scene: Scene) -> None:
    """Two calls for domain 2 fail; domain 1 is well all the time."""
    scene.host.fail("set_max_mem", EAGAIN, times=2, domid=2)
    failed = []
    for _ in range(3):
        scene.xen.set_max_mem(1, MIB)
        try:
            scene.xen.set_max_mem(2, MIB)
        except HypervisorError as error:
            failed.append((error.domid, error.errno))
    assert failed == [(2, EAGAIN), (2, EAGAIN)]
    assert scene.xen.domain(2).max_pages == MIB.pages


def test_a_lie_does_not_read_back(scene: Scene) -> None:
    """Xen holds something else than was written; never below 0 or above no limit."""
    written = []
    for offset in (-3, 5, -10_000, 0):
        scene.host.lie(1, offset)
        scene.xen.set_max_mem(1, MIB)
        scene.xen.set_max_mem(2, MIB)
        written.append(scene.xen.domain(1).max_pages)
    assert written == [253, 261, 0, 256]
    assert scene.xen.domain(2).max_pages == 256
    scene.host.lie(1, 5)
    scene.xen.set_max_mem(1, Memory.of_pages(UNLIMITED_PAGES))
    assert scene.xen.domain(1).max_pages == UNLIMITED_PAGES


def test_other_programs_are_not_disturbed(scene: Scene) -> None:
    """Faults are those of our own calls: a foreign write goes through."""
    scene.host.fail("set_max_mem", EPERM)
    scene.host.lie(1, 7)
    scene.host.foreign_write(1, MIB)
    assert scene.xen.domain(1).max_pages == 256


def test_heal_ends_every_fault(scene: Scene) -> None:
    """Failures, lies, delays, and an absent xenstored."""
    for verb in scene.calls():
        scene.host.fail(verb, EPERM)
        scene.host.delay(verb, 1.0)
    scene.host.lie(1, 7)
    scene.host.set_xenstore_away(True)
    scene.host.heal()
    scene.xen.set_max_mem(1, MIB)
    assert scene.xen.domain(1).max_pages == 256
    assert scene.store.facts(1).name == "one"
    assert scene.slept == []


def test_an_unknown_verb_is_refused(scene: Scene) -> None:
    """A fault that could never strike is a mistake of the test."""
    with pytest.raises(ValueError, match="cannot make 'set_maxmem' fail"):
        scene.host.fail("set_maxmem", EPERM)
    with pytest.raises(ValueError, match="cannot make 'nap' fail"):
        scene.host.delay("nap", 1.0)


def test_while_xenstored_is_gone_it_answers_nothing_and_no_watch_fires(scene: Scene) -> None:
    """When it is back the watch fires once, whatever came and went."""
    calls: list[int] = []
    scene.store.watch(lambda: calls.append(1))
    assert scene.store.wait_until_quiet()
    scene.host.set_xenstore_away(True)
    for verb in ("facts", "write"):
        with pytest.raises(XenstoreError):
            scene.calls()[verb]()
    scene.host.destroy(2)
    scene.host.create("three", memory=MIB)
    assert scene.store.wait_until_quiet()
    assert len(calls) == 1
    scene.host.set_xenstore_away(False)
    assert scene.store.wait_until_quiet()
    assert len(calls) == 2
    assert scene.xen.domain(1).uuid == scene.uuid
    scene.store.close()


def test_a_build_fails_where_populate_does(scene: Scene) -> None:
    """A fault of populate strikes the toolstack, which destroys what it has built."""
    scene.host.fail("populate", EAGAIN, domid=3)
    with pytest.raises(HypervisorError):
        scene.host.create("three", memory=MIB)
    assert [seen.domid for seen in scene.xen.domains()] == [0, 1, 2]
