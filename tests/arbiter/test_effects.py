"""A limit is in force whatever becomes of what is written besides it."""

import json
import logging
from errno import EACCES, EIO

import pytest

from maxmemd.arbiter.messages import Refused
from maxmemd.policy.states import EffectState
from maxmemd.policy.wishes import Increase, Rollback, SetMaxMem, SetTarget
from tests.support.seat import DM, MIB, Seat, mib

VM_NODES = {
    "libxl": lambda host, uuid: None,
    "dom0less": lambda host, uuid: host.nodes.put(1, {"vm": f"vm/{uuid}"}),
    "none": lambda host, uuid: host.nodes.drop(1, "vm"),
    "garbage": lambda host, uuid: host.nodes.put(1, {"vm": "?"}),
}
UNWRITABLE = {
    "no path": lambda host: host.nodes.remove(1),
    "another vm": lambda host: host.nodes.put(
        1, {"vm": "/vm/00000000-dead-4000-8000-000000000000"}
    ),
}


def seat_of(drift: str = "restore") -> Seat:
    """Return a seat with one PV guest of 1024 MiB that may have 2048."""
    seat = Seat(drift=drift)
    seat.host.create("web", memory=mib(1024), maxmem=mib(2048))
    seat.restart()
    return seat


@pytest.mark.parametrize("vm", VM_NODES)
@pytest.mark.parametrize("amount", [2048, 1100])
def test_whatever_its_vm_node_a_living_domain_takes_all_of_it(vm: str, amount: int) -> None:
    """Identity is Xen's UUID: the limit and static-max are written, raising and lowering."""
    seat = seat_of()
    VM_NODES[vm](seat.host, seat.uuid(1))
    answer = seat.grant(1, SetMaxMem(mib(amount)))
    assert answer.is_done
    assert seat.pages(1) == (amount + 1) * 256
    assert seat.host.nodes.facts(1).static_max == mib(amount)


@pytest.mark.parametrize("case", UNWRITABLE)
@pytest.mark.parametrize("amount", [2048, 1100])
def test_what_a_living_domain_cannot_take_is_dropped_and_said_once(case: str, amount: int) -> None:
    """The limit is in force, the reply and one entry name the half that is not written."""
    seat = seat_of()
    UNWRITABLE[case](seat.host)
    answer = seat.grant(1, SetMaxMem(mib(amount)))
    assert answer.push is not None
    (static_max,) = answer.push.effects
    assert (answer.push.state, static_max.name, static_max.state) == (
        "applied", "static-max", "dropped",
    )  # fmt: skip
    assert seat.pages(1) == (amount + 1) * 256
    for _ in range(3):
        seat.poll(100.0)
    (words,) = seat.memory.words("effect-dropped")
    assert (words["effect"], words["amount_kib"], words["error"]) == (
        "static-max", amount * MIB, static_max.error,
    )  # fmt: skip
    assert len(seat.memory.rows) == 1


@pytest.mark.parametrize("case", UNWRITABLE)
def test_what_was_dropped_holds_nothing_back(case: str) -> None:
    """Later wishes reach Xen, drift is healed and said, a restart owes nothing."""
    seat = seat_of()
    UNWRITABLE[case](seat.host)
    seat.grant(1, SetMaxMem(mib(1100)))
    seat.grant(1, Increase(DM, 1024))
    assert seat.pages(1) == 1102 * 256
    seat.host.foreign_write(1, mib(5))
    seat.poll()
    assert (seat.pages(1), len(seat.memory.words("drift"))) == (1102 * 256, 1)
    seat.restart()
    seat.poll()
    seat.grant(1, Rollback(1, force=True))
    assert (seat.pages(1), seat.state(1)) == (1025 * 256, "applied")


@pytest.mark.parametrize("errno", [EIO, EACCES])
@pytest.mark.parametrize("drift", ["restore", "adopt", "alert"])
def test_a_node_that_xenstored_refuses_for_ever_holds_nothing_back(errno: int, drift: str) -> None:
    """Drift is drift by its mode, and later wishes are granted as done; it is tried on."""
    seat = seat_of(drift)
    seat.host.fail("write", errno)
    first = seat.grant(1, SetMaxMem(mib(1100)))
    assert not first.is_done
    assert seat.pages(1) == 1101 * 256
    assert seat.grant(1, Increase(DM, 1024)).is_done
    seat.host.foreign_write(1, mib(1080))
    seat.poll()
    assert len(seat.memory.words("drift")) == 1
    assert seat.pages(1) == (1102 * 256 if drift == "restore" else 1080 * 256)
    if drift != "alert":
        seat.host.heal()
        seat.poll(100.0)
        assert seat.host.nodes.facts(1).static_max == mib(1100)


def test_retries_of_an_effect_back_off_and_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is tried again after 1, 2, 4 ... 60 s, however often Xen is seen to hold the limit."""
    seat = seat_of()
    seat.host.fail("write", EIO)
    with caplog.at_level(logging.ERROR):
        seat.grant(1, SetMaxMem(mib(1100)))
        for _ in range(100):
            seat.poll(2.0)
    assert 6 < len(seat.memory.rows) < 11
    assert len(caplog.records) == 1


def test_what_is_owed_survives_a_crash() -> None:
    """It is in the ledger with the decision, and written by the next daemon."""
    seat = seat_of()
    seat.host.fail("write", EIO)
    seat.grant(1, SetMaxMem(mib(1100)))
    seat.arbiter.flush()
    seat.host.heal()
    seat.restart()
    assert seat.host.nodes.facts(1).static_max == mib(1100)
    assert seat.instance(1).effect_states[0].state is EffectState.WRITTEN


@pytest.mark.parametrize("amount", [2048, 1100])
@pytest.mark.parametrize("step", ["nodes-removed", "dying", "dead"])
def test_a_domain_that_is_being_destroyed_is_gone_at_once_and_stays_it(
    step: str, amount: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The request that meets it and the next say the same, and nothing is a warning."""
    seat = seat_of()
    uuid = seat.uuid(1)
    for done in seat.host.destroying(1):
        if done.name == step:
            break
    with caplog.at_level(logging.WARNING):
        for ref in (1, uuid, "web", 1):
            assert seat.refuse(ref, SetMaxMem(mib(amount))) == "domain-gone"
            assert seat.refuse(ref, SetTarget(mib(900))) == "domain-gone"
        seat.poll()
    assert [record.message for record in caplog.records] == []
    assert seat.memory.kinds(uuid).count("instance-ended") == 1
    assert seat.memory.kinds(uuid).count("instance-began") == 1


def test_a_push_that_meets_a_destruction_is_gone() -> None:
    """What is decided just before its path goes is answered as gone, and so is the next."""
    seat = seat_of()
    xenstore = seat.host.xenstore()
    write = xenstore.write

    def destroyed_first(*args: object, **amounts: object) -> None:
        next(seat.host.destroying(1))
        write(*args, **amounts)  # type: ignore[arg-type]

    xenstore.write = destroyed_first  # type: ignore[method-assign]
    seat.xenstore = xenstore
    seat.restart()
    answer = seat.grant(1, SetMaxMem(mib(1100)))
    assert answer.push is not None
    assert answer.push.state == "gone"
    assert isinstance(seat.ask(1, SetMaxMem(mib(1200))), Refused)
    assert seat.refuse(1, SetMaxMem(mib(1200))) == "domain-gone"


def test_a_paused_domain_whose_path_is_lost_and_that_runs_again_is_a_new_instance() -> None:
    """It was not destroyed after all, so it is taken up again with its record."""
    seat = seat_of()
    seat.grant(1, SetMaxMem(mib(1100)))
    seat.host.pause(1)
    seat.host.nodes.remove(1)
    assert seat.refuse(1, SetMaxMem(mib(1200))) == "domain-gone"
    seat.host.unpause(1)
    seat.poll()
    assert seat.grant(1, SetMaxMem(mib(1200))).record.revision == 3
    assert seat.pages(1) == 1201 * 256


def test_a_name_that_is_removed_means_no_domain() -> None:
    """The name of a domain is what xenstore says now; where it has none there is none."""
    seat = seat_of()
    seat.host.nodes.drop(1, "name")
    assert seat.grant(1, SetMaxMem(mib(1100))).name is None
    assert seat.instance(1).name is None
    assert seat.refuse("web", SetMaxMem(mib(1100))) == "unknown-domain"


@pytest.mark.parametrize(
    ("node", "value"),
    [
        ("memory/static-max", "abc"),
        ("memory/static-max", "18446744073709551616"),
        ("memory/static-max", ""),
        ("memory/static-max", "9" * 5000),
        ("memory/target", "abc"),
        ("memory/videoram", "zz"),
    ],
)
def test_a_node_that_is_no_amount_is_in_the_history_once(node: str, value: str) -> None:
    """Found by whoever looks, with its value, until it changes."""
    seat = seat_of()
    seat.host.nodes.put(1, {node: value})
    for _ in range(3):
        seat.ask(1, SetMaxMem(mib(1100)), dry_run=True)
    seat.arbiter.flush()
    (words,) = seat.memory.words("node-unreadable")
    assert (words["node"], str(words["value"])[:3]) == (node, value[:3])
    seat.host.nodes.put(1, {node: "no"})
    seat.ask(1, SetMaxMem(mib(1100)), dry_run=True)
    seat.arbiter.flush()
    assert len(seat.memory.words("node-unreadable")) == 2
    assert json.dumps(words)
