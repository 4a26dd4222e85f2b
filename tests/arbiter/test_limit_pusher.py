"""One push: the order of effects, the read-back, and when to try again."""

import logging
from collections.abc import Sequence
from errno import EINVAL, EIO, EPERM, ESRCH

import pytest

from maxmemd.arbiter.endings import EndingTable
from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.instances import InstanceTable
from maxmemd.arbiter.lifecycle import Lifecycle
from maxmemd.arbiter.limit_pusher import DuePush, LimitPusher
from maxmemd.arbiter.records import Records
from maxmemd.arbiter.settings import CurrentSettings, Settings
from maxmemd.errors import DomainGone, HypervisorError, XenstoreError
from maxmemd.policy.components import MAX_MEM, Component, Record
from maxmemd.policy.drift import DriftRules
from maxmemd.policy.entries import PushRow
from maxmemd.policy.facts import NO_PATH, HostFacts, StoreFacts, XenFacts
from maxmemd.policy.rules import Rules
from maxmemd.policy.states import EffectState, PushState
from maxmemd.policy.verdicts import EFFECTS, NO_EFFECTS, Effects
from maxmemd.pusher.local import LocalPusher
from maxmemd.units import UNLIMITED, UNLIMITED_PAGES, Memory
from tests.support.fakes import FakeClock, MemoryLedger
from tests.support.seat import mib

WEB = "51a70000-0000-4000-8000-00000000000a"
DB = "51a70000-0000-4000-8000-00000000000b"
ALL = Effects(Memory(kib=9216), Memory(kib=65536), Memory(kib=8192))


class OneDomain:
    """A Hypervisor and a Xenstore of one domain, 7, that tell what was done to them."""

    def __init__(self, max_pages: int = 4096) -> None:
        self.uuid, self.max_pages, self.tot_pages = WEB, max_pages, 0
        self.done: list[tuple[str, object]] = []
        self.wrong: dict[str, Exception] = {}
        self.then_uuid: dict[str, str] = {}
        self.offset = 0
        self.paused = False
        self.store = StoreFacts()

    def domain(self, domid: int) -> XenFacts:
        """Read the domain."""
        self._do("read", domid)
        return XenFacts(domid, self.uuid, self.tot_pages, self.max_pages, paused=self.paused)

    def set_max_mem(self, domid: int, limit: Memory) -> None:
        """Set the maximum, or a little beside it."""
        self._do("max", limit.max_pages)
        self.max_pages = limit.max_pages + self.offset

    def set_pod_target(self, domid: int, target: Memory) -> None:
        """Set the PoD target (A9)."""
        self._do("pod", target.kib)
        if target.pages > self.max_pages:
            raise HypervisorError.of("set pod target", domid, EINVAL)

    def write(
        self, domid: int, uuid: str, *, target: Memory | None, static_max: Memory | None
    ) -> None:
        """Write nodes of the domain if it is the one that is meant."""
        if uuid != self.uuid:
            raise DomainGone("write", domid, ESRCH)
        self._do("write", tuple(None if a is None else a.kib for a in (static_max, target)))

    def domains(self) -> Sequence[XenFacts]:
        """Return nothing: it is never called."""
        return []

    def host(self) -> HostFacts:
        """Return nothing: it is never called."""
        return HostFacts(0, 0, 0, 0, "")

    def facts(self, domid: int) -> StoreFacts:
        """Return what the test put there."""
        return self.store

    def watch(self, changed: object) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def _do(self, verb: str, value: object) -> None:
        if verb in self.wrong:
            raise self.wrong[verb]
        self.done.append((verb, value))
        self.uuid = self.then_uuid.get(verb, self.uuid)


@pytest.fixture
def one() -> "One":
    """Give a limit pusher, its world, an instance that holds 4096 pages, and the clock."""
    world, clock = OneDomain(), FakeClock()
    settings = CurrentSettings(Settings(Rules(), DriftRules()))
    records = Records(MemoryLedger(), clock)
    table = InstanceTable(records.last_incarnation, "boot-1")
    pusher = LocalPusher(world, world)
    endings = EndingTable(table, "boot", {})
    lifecycle = Lifecycle(settings, table, records, pusher, clock, endings)
    ((instance,), _, _) = table.compare([XenFacts(7, WEB, 0, world.max_pages, cpu_time_ns=1)], 0)
    instance.on_observed(world.max_pages)
    limits = LimitPusher(lifecycle, records, pusher, clock)
    return limits, world, instance, clock


One = tuple[LimitPusher, OneDomain, Instance, FakeClock]


def push(limits: LimitPusher, instance: Instance, limit: Memory) -> PushRow:
    """Push a limit, and what is open, as revision 5; return what the ledger is to keep of it."""
    record = Record(WEB, 5, {MAX_MEM: Component(limit, 5)})
    limits.push([DuePush(instance, record, instance.effects)])
    return limits.records.notes.pushes[-1]


@pytest.mark.parametrize("seen", [4096, 8192, None])
def test_raising(one: One, seen: int | None) -> None:
    """Raising, keeping, or not knowing: the maximum first, then PoD target, then the nodes."""
    limits, world, instance, _ = one
    instance.on_effects_decided(ALL)
    instance.seen_pages = seen
    push(limits, instance, mib(32))
    nodes = [("write", (65536, None)), ("write", (None, 8192))]
    assert world.done == [("max", 8192), ("pod", 9216), *nodes, ("read", 7)]
    assert (instance.push_state, instance.settled_revision) == ("applied", 5)
    assert instance.effects is NO_EFFECTS


def test_lowering(one: One) -> None:
    """Lowering: the target first, so that the guest shrinks, and the maximum last."""
    limits, world, instance, _ = one
    instance.on_effects_decided(ALL)
    push(limits, instance, mib(12))
    nodes = [("write", (None, 8192)), ("write", (65536, None))]
    assert world.done == [*nodes, ("pod", 9216), ("max", 3072), ("read", 7)]


@pytest.mark.parametrize(
    ("effects", "wrote"),
    [
        (NO_EFFECTS, []),
        (Effects(target=Memory(kib=0)), [("write", (None, 0))]),
        (Effects(static_max=Memory(kib=4)), [("write", (4, None))]),
        (Effects(pod_target=Memory(kib=4)), [("pod", 4)]),
    ],
    ids=["none", "target", "static-max", "pod"],
)
def test_only_what_is_open_is_written(
    one: One, effects: Effects, wrote: list[tuple[str, object]]
) -> None:
    """A thing that no decision named is left alone; a target of 0 is a target."""
    limits, world, instance, _ = one
    instance.on_effects_decided(effects)
    push(limits, instance, mib(32))
    assert world.done == [("max", 8192), *wrote, ("read", 7)]


def test_the_maximum_caps_the_pod_target(one: One) -> None:
    """A PoD target above the limit would be EINVAL (A9): the limit is set instead."""
    limits, world, instance, _ = one
    instance.effects = Effects(pod_target=mib(64))
    push(limits, instance, mib(32))
    assert ("pod", 32768) in world.done
    assert instance.push_state == "applied"


def test_unlimited(one: One) -> None:
    """An unlimited limit is written, and reads back, as Xen's largest number."""
    limits, _, instance, _ = one
    row = push(limits, instance, UNLIMITED + mib(1))
    assert (row.max_pages, row.seen_pages, instance.push_state) == (
        UNLIMITED_PAGES,
        UNLIMITED_PAGES,
        "applied",
    )


def test_a_guest_that_still_has_to_shrink(one: One) -> None:
    """Where Xen holds more pages than the limit, the limit is in force and the state says so."""
    limits, world, instance, _ = one
    world.tot_pages = 3073
    push(limits, instance, mib(12))
    assert (instance.push_state, instance.in_force) == ("over-limit", True)
    world.tot_pages = 3072
    push(limits, instance, mib(12))
    assert instance.push_state == "applied"


def test_a_value_that_does_not_read_back(one: One) -> None:
    """Another value than was written is mismatched, says both numbers, and is tried again."""
    limits, world, instance, clock = one
    world.offset = -1
    instance.on_effects_decided(ALL)
    row = push(limits, instance, mib(32))
    assert (row.max_pages, row.seen_pages, row.errno) == (8192, 8191, None)
    assert (instance.push_state, instance.in_force, instance.settled_revision) == (
        "mismatched",
        False,
        0,
    )
    assert instance.error == ("cannot see the maximum in force: wrote 8192 pages, Xen holds 8191")
    assert instance.retry_s == clock.now_s + 1
    assert limits.failures == 1


@pytest.mark.parametrize(
    ("verb", "error"),
    [
        ("max", HypervisorError.of("set max mem", 7, EPERM)),
        ("read", HypervisorError.of("read", 7, EPERM)),
    ],
)
@pytest.mark.parametrize("limit", [12, 32])
def test_a_limit_that_xen_refuses(one: One, verb: str, error: HypervisorError, limit: int) -> None:
    """The state says it; raising, its effects wait for it, and what was written is not owed."""
    limits, world, instance, _ = one
    world.wrong = {verb: error}
    instance.on_effects_decided(ALL)
    row = push(limits, instance, mib(limit))
    assert (row.errno, row.revision, row.uuid, row.domid) == (EPERM, 5, WEB, 7)
    assert (instance.push_state, instance.errno, instance.error) == ("failed", EPERM, str(error))
    is_waiting = verb == "max" and limit == 32
    assert instance.effects == (ALL if is_waiting else NO_EFFECTS)
    states = {each.state for each in instance.effect_states}
    assert states == {EffectState.PENDING if is_waiting else EffectState.WRITTEN}

    world.wrong = {}
    push(limits, instance, mib(limit))
    assert (instance.push_state, instance.errno, instance.error) == ("applied", None, None)
    assert (instance.effects, instance.failures) == (NO_EFFECTS, 0)


NOT_A_DOMAIN = DomainGone("write /local/domain/7", 7, ESRCH)
REFUSED = {
    "pod": ("pod", HypervisorError.of("set pod target", 7, EPERM), {"pod-target": "failed"}),
    "pod of a guest without one": (
        "pod",
        HypervisorError.of("set pod target", 7, EINVAL),
        {"pod-target": "dropped"},
    ),
    "pod, no such domain": ("pod", HypervisorError.of("pod", 7, ESRCH), {"pod-target": "failed"}),
    "nodes": (
        "write",
        XenstoreError("write nodes", EIO),
        {"static-max": "failed", "target": "failed"},
    ),
    "no path": ("write", NOT_A_DOMAIN, {"static-max": "dropped", "target": "dropped"}),
}


@pytest.mark.parametrize("limit", [12, 16, 32])
@pytest.mark.parametrize("case", REFUSED)
def test_what_else_is_refused_does_not_hold_the_limit(one: One, case: str, limit: int) -> None:
    """The limit is in force; each effect has its own state; only a failed one is still owed."""
    limits, world, instance, clock = one
    verb, error, unwritten = REFUSED[case]
    world.wrong, world.store = {verb: error}, NO_PATH
    instance.on_effects_decided(ALL)
    row = push(limits, instance, mib(limit))
    assert (row.errno, row.seen_pages, world.max_pages) == (None, limit * 256, limit * 256)
    assert (instance.push_state, instance.errno, instance.error) == ("applied", None, None)
    states = {each.name: str(each.state) for each in instance.effect_states}
    assert states == dict.fromkeys(EFFECTS, "written") | unwritten
    failed = [name for name, state in unwritten.items() if state == "failed"]
    assert [name for name, _ in instance.effects.named()] == failed
    assert limits.failures == bool(failed)
    assert instance.retry_s == (clock.now_s + 1 if failed else 0)
    dropped = [line for line in limits.records.notes.entries if line.kind == "effect-dropped"]
    assert len(dropped) == len(unwritten) - len(failed)

    world.wrong = {}
    push(limits, instance, mib(limit))
    assert (instance.effects, instance.failures) == (NO_EFFECTS, 0)


def test_a_domain_that_xenstore_calls_by_another_uuid(one: One) -> None:
    """Its limit is set, for Xen says whose the domid is; its nodes are left alone."""
    limits, world, instance, _ = one
    world.wrong = {"write": NOT_A_DOMAIN}
    instance.on_effects_decided(Effects(static_max=Memory(kib=65536)))
    push(limits, instance, mib(12))
    (effect,) = instance.effect_states
    assert (instance.push_state, effect.state, effect.errno) == ("applied", "dropped", ESRCH)
    assert effect.error == "cannot write it: /local/domain/7/vm in xenstore names another domain"


def test_a_pod_target_above_a_maximum_that_xen_does_not_hold_is_tried_again(one: One) -> None:
    """EINVAL says nothing of the guest where Xen holds less than was written (A9)."""
    limits, world, instance, _ = one
    world.offset = -1
    instance.on_effects_decided(Effects(pod_target=mib(64)))
    push(limits, instance, mib(32))
    assert (instance.push_state, instance.effect_states[0].state) == ("mismatched", "failed")


def test_a_domain_that_is_being_destroyed_is_gone(
    one: One, caplog: pytest.LogCaptureFixture
) -> None:
    """Xen lists it still, paused, and xenstore has forgotten it: no failure, and no warning."""
    limits, world, instance, _ = one
    instance.on_nodes_read(0.0, StoreFacts("web"))
    world.wrong, world.store, world.paused = {"write": NOT_A_DOMAIN}, NO_PATH, True
    instance.on_effects_decided(ALL)
    with caplog.at_level(logging.WARNING):
        push(limits, instance, mib(12))
    assert instance.push_state == "gone"
    assert caplog.records == []
    assert not list(limits.lifecycle.instances)
    fact = world.domain(7)
    assert limits.lifecycle.instances.compare([fact], 0) == ([], [], None)
    running = fact._replace(paused=False)
    assert len(limits.lifecycle.instances.compare([running], 0)[0]) == 1


def test_retries_back_off(one: One) -> None:
    """It is retried after 1, 2, 4 ... and at most 60 seconds; a success resets the delay."""
    limits, world, instance, clock = one
    world.wrong = {"max": HypervisorError.of("set max mem", 7, EPERM)}
    waits = []
    for _ in range(14):
        push(limits, instance, mib(32))
        waits.append(instance.retry_s - clock.now_s)
    assert waits == [1, 2, 4, 8, 16, 32, *[60] * 8]
    world.wrong = {}
    push(limits, instance, mib(32))
    world.wrong = {"max": HypervisorError.of("set max mem", 7, EPERM)}
    push(limits, instance, mib(32))
    assert instance.retry_s - clock.now_s == 1


@pytest.mark.parametrize("verb", ["max", "read"])
def test_a_domain_that_is_gone(one: One, verb: str) -> None:
    """ESRCH is no failure to try again: the instance is gone."""
    limits, world, instance, _ = one
    world.wrong = {one: HypervisorError.of(one, 7, ESRCH) for one in (verb, "read")}
    row = push(limits, instance, mib(32))
    assert (instance.push_state, row.errno, limits.failures) == ("gone", ESRCH, 0)


def test_a_push_is_kept_with_its_instance_and_its_time(one: One) -> None:
    """The ledger's row says which life it was about, and when it came back."""
    limits, _, instance, clock = one
    row = push(limits, instance, mib(32))
    assert row == PushRow(clock.wall_ns(), WEB, 7, instance.incarnation, 5, 8192, 8192, None, 0)


def test_every_failure_counts(one: One) -> None:
    """The same failure again is one more."""
    limits, world, instance, _ = one
    world.wrong = {"max": HypervisorError.of("set max mem", 7, EPERM)}
    for _ in range(3):
        push(limits, instance, mib(32))
    assert (limits.failures, limits.pushes) == (3, 3)


def test_a_domain_that_xen_still_has_is_not_gone(one: One) -> None:
    """ESRCH of one call, for a domain that can be read, is a failure to try again."""
    limits, world, instance, _ = one
    world.wrong = {"max": HypervisorError.of("max", 7, ESRCH)}
    row = push(limits, instance, mib(32))
    assert (instance.push_state, row.errno, limits.failures) == ("failed", ESRCH, 1)


def test_a_domid_that_was_reused_before_the_nodes_were_written(one: One) -> None:
    """Lowering, the successor's nodes are checked first: nothing of it is written."""
    limits, world, instance, _ = one
    world.uuid = DB
    instance.on_effects_decided(ALL)
    push(limits, instance, mib(12))
    assert (instance.push_state, world.max_pages) == ("gone", 4096)
    assert {verb for verb, _ in world.done} == {"read"}


def test_a_domid_that_was_reused_during_the_push(one: One) -> None:
    """A UUID that changed under the push is seen when it is read back: that one is gone."""
    limits, world, instance, _ = one
    world.then_uuid = {"max": DB}
    row = push(limits, instance, mib(32))
    assert (instance.push_state, instance.settled_revision, row.errno) == ("gone", 0, ESRCH)


def test_what_is_in_force_is_settled(one: One) -> None:
    """In force, failures and drift are over, and it is remembered which revision was seen."""
    limits, world, instance, clock = one
    world.wrong = {"max": HypervisorError.of("set max mem", 7, EPERM)}
    for _ in range(3):
        push(limits, instance, mib(32))
    instance.on_drift(9, "x")
    assert (instance.errno, instance.failures, instance.drift_pages) == (EPERM, 3, 9)
    instance.on_in_force(XenFacts(7, WEB, 5, 8), 6)
    assert (instance.errno, instance.error, instance.drift_pages) == (None, None, None)
    assert (instance.seen_pages, instance.settled_revision, instance.failures) == (8, 6, 0)
    assert instance.push_state is PushState.APPLIED
    world.wrong = {"max": HypervisorError.of("set max mem", 7, EPERM)}
    push(limits, instance, mib(32))
    assert instance.retry_s == clock.now_s + 1
