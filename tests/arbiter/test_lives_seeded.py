"""Each rule of the lives, taken back: a short sequence of what can happen shows what it was for.

A sequence raises Broken where a decision is undone, or where an instance has numbers that nothing
decided for it. With the rule it never does.
"""

from collections.abc import Callable

import pytest

from maxmemd.arbiter.builds import Builds
from maxmemd.arbiter.instances import InstanceTable
from maxmemd.policy import endings, lives
from maxmemd.policy.components import MAX_MEM, Record
from maxmemd.policy.endings import CRASH, REBOOT, SUSPEND
from maxmemd.policy.facts import DOM0_UUID
from maxmemd.policy.states import BuildPhase
from maxmemd.policy.verdicts import NO_EFFECTS
from maxmemd.policy.wishes import (
    CREATED,
    RESTORED,
    Build,
    Increase,
    SetComponent,
    SetMaxMem,
    SetTarget,
)
from maxmemd.units import Memory
from maxmemd.xen.simulated import finish
from tests.support.decisions import undone
from tests.support.seat import MIB, WEB_UUID, Seat, mib, web_of

Patch = pytest.MonkeyPatch


class Broken(AssertionError):
    """Something that must never be was seen."""


def expect(what: str, found: object, wanted: object) -> None:
    """Raise Broken unless these are the same."""
    if found != wanted:
        raise Broken(f"{what}: {found}, and not {wanted}")


def leaked_beside(seat: Seat) -> int:
    """Leave a paused instance behind, create the same UUID beside it, and return that."""
    seat.host.create("vm--incoming", memory=mib(512), maxmem=mib(1024), uuid=WEB_UUID, paused=True)
    seat.poll()
    vm = seat.host.create("vm", memory=mib(768), maxmem=mib(1536), uuid=WEB_UUID)
    seat.poll()
    return vm


def a_decision_beside_a_leak() -> None:
    """Check that a confirmed limit stays, and that the leak is left alone."""
    seat = Seat().restart()
    vm = leaked_beside(seat)
    expect("the leak", seat.pages(1), 513 * 256)
    seat.grant("vm", SetMaxMem(mib(1100)))
    for _ in range(3):
        seat.poll()
    expect("the limit", seat.pages(vm), 1101 * 256)
    expect("the leak", seat.pages(1), 513 * 256)
    expect("undone", undone(seat.memory.lines), [])


def a_decision_while_both_are_built() -> None:
    """Check that a decision on the younger ends for both that their record follows a build."""
    seat = Seat().restart()
    seat.host.create("vm--incoming", memory=mib(512), uuid=WEB_UUID, paused=True)
    seat.poll()
    vm = seat.host.create("vm", memory=mib(768), uuid=WEB_UUID, paused=True)
    seat.poll()
    seat.grant("vm", SetMaxMem(mib(1100)))
    for _ in range(3):
        seat.poll()
    expect("the limit", seat.record(vm).amount(MAX_MEM), mib(1100))
    expect("the phases", {life.build_phase for life in seat.arbiter.instances if life.domid},
           {BuildPhase.ANNOUNCED})  # fmt: skip
    expect("undone", undone(seat.memory.lines), [])


def a_uuid_beside_a_leak() -> None:
    """Check that a UUID means the instance that has run, not the elder."""
    seat = Seat().restart()
    vm = leaked_beside(seat)
    expect("meant", seat.grant(WEB_UUID, SetMaxMem(mib(800))).domid, vm)


def dom0_of_another_boot() -> None:
    """dom0 starts from Xen's number where nothing was decided, and never falls below its pages."""
    seat = Seat().restart()
    seat.boot = "boot-2"
    seat.host.foreign_write(0, mib(4096))
    seat.restart()
    expect("the boot's cap", seat.pages(0), 4096 * 256)
    seat.grant(0, SetMaxMem(mib(2048)))
    seat.boot = "boot-3"
    seat.host.foreign_write(0, mib(8192))
    seat.host.machine.populate(0, mib(4096).pages)
    seat.host.nodes.remove(0)
    seat.host.nodes.add(0, DOM0_UUID)
    seat.restart()
    expect("what dom0 may have", seat.pages(0), 8192 * 256)
    [why] = [words["why"] for words in seat.memory.words("record-replaced")]
    expect("the reason", str(why).startswith("it holds"), True)


def a_reboot_with_libxls_constant() -> None:
    """Check that a round trip may add libxl's own constant."""
    seat = Seat().restart()
    hvm = seat.host.create("hv", kind="hvm", memory=mib(1024), maxmem=mib(4096))
    seat.poll()
    seat.grant(hvm, SetMaxMem(mib(1015)))
    seat.grant(hvm, SetComponent(("operator", "extra"), Memory(kib=256)))
    again = seat.host.reboot(hvm)
    seat.poll()
    expect("max-mem", seat.amounts(again).get("operator/max-mem"), 1015 * MIB)
    expect("extra", seat.amounts(again).get("operator/extra"), 256)


def a_changed_configuration() -> None:
    """Numbers that nothing decided end with their instance, whether or not its end was seen."""
    for polls in (0, 1):
        seat = Seat().restart()
        web = finish(seat.host.building(web_of(64, 128)))
        seat.poll()
        seat.host.destroy(web)
        for _ in range(polls):
            seat.poll()
            expect("records", WEB_UUID in seat.arbiter.records.uuids(), False)
        born = finish(seat.host.building(web_of(32, 128)))
        seat.poll()
        expect("the limit", seat.pages(born), 33 * 256)


def a_crash() -> None:
    """Check that a guest that its toolstack makes again keeps what was decided."""
    seat = Seat().restart()
    seat.host.setmaxmem = lambda domid, limit: (
        seat.grant(domid, Build(limit - mib(1), CREATED)) and None
    )
    web = finish(seat.host.building(web_of(128, 256)))
    seat.poll()
    seat.grant(web, SetMaxMem(mib(300)))
    seat.grant(web, Increase(("toolstack", "extra"), MIB))
    for step in seat.host.rebooting(web, CRASH):
        web = step.domid
        seat.poll()
    expect("the limit", seat.pages(web), 302 * 256)
    expect("static-max", seat.host.nodes.facts(web).static_max, mib(300))


def a_wish_within_a_save(*, announced: bool) -> None:
    """Check that what is confirmed after the stream was begun holds after the restore."""
    seat = Seat().restart()
    web = finish(seat.host.building(web_of(128, 256)))
    seat.poll()
    image = seat.host.image(web)
    seat.grant(web, SetMaxMem(mib(300)))
    seat.grant(web, SetTarget(mib(110)))
    seat.host.shutdown(web, SUSPEND)
    seat.poll()
    seat.host.destroy(web)
    seat.poll()
    if announced:
        seat.host.setmaxmem = lambda domid, limit: (
            seat.grant(domid, Build(limit - mib(1), RESTORED, mib(256))) and None
        )
    born = 0
    for step in seat.host.building(image.config, image=image):
        born = step.domid
        seat.poll()
    seat.poll()
    nodes = seat.host.nodes.facts(born)
    expect("the limit", seat.pages(born), 111 * 256)
    expect("the nodes", (nodes.target, nodes.static_max), (mib(110), mib(300)))
    expect("told", len(seat.memory.words("confirmed-again")), 1)
    expect("undone", undone(seat.memory.lines), [])


def an_announced_restore() -> None:
    """By a toolstack that announces what it builds."""
    a_wish_within_a_save(announced=True)


def an_unannounced_restore() -> None:
    """By one that does not."""
    a_wish_within_a_save(announced=False)


SEQUENCES = [
    a_decision_beside_a_leak,
    a_decision_while_both_are_built,
    a_uuid_beside_a_leak,
    dom0_of_another_boot,
    a_reboot_with_libxls_constant,
    a_changed_configuration,
    a_crash,
    an_announced_restore,
    an_unannounced_restore,
]


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_nothing_is_broken(sequence: Callable[[], None]) -> None:
    """With all rules in place no sequence breaks."""
    sequence()


def _per_instance(patch: Patch) -> None:
    """Let a decision count for the named instance only."""
    patch.setattr("maxmemd.arbiter.batch.ends_guessing", lambda _phase, *, is_named: is_named)
    patch.setattr(Builds, "_is_followed_no_more", lambda *_: False)


def _elder(patch: Patch) -> None:
    patch.setattr(InstanceTable, "meant", lambda table, uuid: table.of_uuid(uuid)[0])


def _all_decided(patch: Patch) -> None:
    """Let what was observed count as decided."""
    patch.setattr(Record, "decided", property(lambda record: frozenset(
        {*record.components, ("xenstore", "static-max")}
    )))  # fmt: skip


def _dom0_is_a_guest(patch: Patch) -> None:
    patch.setattr(lives, "contradiction", lambda *_: None)


def _exact(patch: Patch) -> None:
    """Let a round trip be compared to the KiB."""
    starved = lives._starved

    def exactly(rules: object, *others: object) -> str | None:
        return starved(type(rules)(slack=Memory(kib=0)), *others)  # type: ignore[arg-type,call-arg]

    patch.setattr(lives, "_starved", exactly)


def _only_reboots(patch: Patch) -> None:
    patch.setattr(endings, "RESTARTS", frozenset({REBOOT}))


def _build_is_all(patch: Patch) -> None:
    """Let what an instance was built with stand."""
    patch.setattr(lives, "confirmed_again", lambda *_: NO_EFFECTS)


def _suspension_unknown(patch: Patch) -> None:
    patch.setattr(endings.Ending, "is_suspension", property(lambda _: False))


@pytest.mark.parametrize(
    ("take_back", "sequence"),
    [
        (_per_instance, a_decision_while_both_are_built),
        (_per_instance, a_decision_beside_a_leak),
        (_elder, a_uuid_beside_a_leak),
        (_all_decided, dom0_of_another_boot),
        (_dom0_is_a_guest, dom0_of_another_boot),
        (_exact, a_reboot_with_libxls_constant),
        (_all_decided, a_changed_configuration),
        (_only_reboots, a_crash),
        (_build_is_all, an_announced_restore),
        (_build_is_all, an_unannounced_restore),
        (_suspension_unknown, an_unannounced_restore),
    ],
)
def test_a_rule_that_is_taken_back_is_missed(
    take_back: Callable[[Patch], None], sequence: Callable[[], None], monkeypatch: Patch
) -> None:
    """Seeded: without one rule its sequence breaks, in a number that can be named."""
    take_back(monkeypatch)
    with pytest.raises(Broken):
        sequence()
