"""What is told of single domains: targets above limits, nodes, faults that one domain leads to."""

import logging
from errno import EIO
from typing import Any

import pytest

from maxmemd.arbiter.batch import Batch
from maxmemd.arbiter.conditions import Condition
from maxmemd.arbiter.messages import DomainView, LookAtDomain, LookAtDomains
from maxmemd.arbiter.nodes import MOST_AT_ONCE
from maxmemd.errors import DomainFault, HypervisorError, LedgerFull, MaxmemError
from maxmemd.policy import lives
from maxmemd.policy.outlook import STILL_POLLS, TargetAboveLimit
from maxmemd.policy.wishes import Increase, SetMaxMem, SetTarget
from maxmemd.units import Memory
from maxmemd.xen.simulated import Stuck
from tests.support.seat import DM, MIB, Seat, mib


def seat_of(guests: int = 1, **options: Any) -> Seat:
    """Return a seat with PV guests of 64 MiB that may have 128."""
    seat = Seat()
    for number in range(1, guests + 1):
        seat.host.create(f"web-{number}", memory=mib(64), maxmem=mib(128), **options)
    seat.restart()
    return seat


def looked_at(seat: Seat, domid: int = 1) -> DomainView:
    """Return what is shown of a domain."""
    (view,) = seat.arbiter.turn([LookAtDomain(str(domid))])
    assert isinstance(view, DomainView)
    return view


def kinds_of(seat: Seat) -> list[tuple[int | None, str]]:
    """Return the conditions of the last poll, by domid."""
    return [(each.domid, each.kind) for each in seat.arbiter.conditions]


def test_a_target_above_the_limit_begins_and_ends_with_an_entry() -> None:
    """Forced by ourselves, it is told in the turn; a target within the limit ends it."""
    seat = seat_of()
    seat.grant(1, SetMaxMem(mib(32), force=True))
    seat.poll()
    assert seat.memory.words("target-above-limit") == [
        {"domid": 1, "target_kib": 64 * MIB, "videoram_kib": 0, "max_mem_kib": 32 * MIB}
    ]
    assert kinds_of(seat) == [(1, "target-above-limit")]
    view = looked_at(seat)
    assert (view.target_above, view.outlook) == (
        TargetAboveLimit(64 * MIB, 0, 32 * MIB), "target-above-limit",
    )  # fmt: skip
    seat.grant(1, SetTarget(mib(30), enforce=False))
    seat.poll()
    assert seat.memory.words("recovered")[-1] == {"domid": 1, "from": "target-above-limit"}
    assert kinds_of(seat) == []
    assert looked_at(seat).outlook == "shrinking"


def test_a_target_that_another_program_writes_is_found_without_being_asked_for() -> None:
    """Each domain's nodes are looked at in turns."""
    seat = seat_of()
    seat.host.nodes.put(1, {"memory/target": str(200 * MIB)})
    for _ in range(6):
        seat.poll()
    assert len(seat.memory.words("target-above-limit")) == 1


def test_a_build_is_not_judged() -> None:
    """Until it runs, what its toolstack has written is not all of it."""
    seat = seat_of()
    seat.host.create("late", memory=mib(64), maxmem=mib(128), paused=True)
    seat.host.nodes.put(2, {"memory/target": str(200 * MIB)})
    for _ in range(6):
        seat.poll()
    assert seat.memory.words("target-above-limit") == []


@pytest.mark.parametrize(
    ("act", "outlook"),
    [
        (lambda host: host.pause(1), "paused"),
        (lambda host: host.shutdown(1, 3), "crashed"),
        (lambda host: host.shutdown(1, 0), "shut-down"),
        (lambda host: host.nodes.drop(1, "memory/target"), "no-target"),
        (lambda host: host.nodes.put(1, {"memory/target": "abc"}), "target-unreadable"),
        (lambda host: host.nodes.remove(1), "no-path"),
        (lambda host: None, "target-above-limit"),
    ],
)
def test_who_cannot_shrink_is_said_and_why(act: Any, outlook: str) -> None:
    """No guest is promised to shrink that the facts say will not."""
    seat = seat_of()
    seat.grant(1, SetMaxMem(mib(32), force=True))
    act(seat.host)
    assert looked_at(seat).outlook == outlook


def test_a_guest_without_a_balloon_that_moves_is_named_after_some_polls() -> None:
    """Its target is within the limit, and it gives back nothing; one that moves is shrinking."""
    for guest, outlook in ((Stuck(), "not-moving"), (None, "shrinking")):
        seat = seat_of(guest=guest)
        seat.grant(1, SetTarget(mib(16), enforce=True))
        assert looked_at(seat).outlook == "shrinking"
        for number in range(STILL_POLLS):
            if guest is None:
                seat.host.tick(0.01 * (number + 1))
            seat.poll()
        assert looked_at(seat).outlook == outlook


def test_a_guest_within_its_limit_has_no_outlook() -> None:
    """There is nothing to be promised."""
    assert looked_at(seat_of()).outlook is None


def test_nodes_of_many_domains_are_looked_at_in_turns() -> None:
    """No poll asks for more than so many, and each has its turn."""
    seat = seat_of(MOST_AT_ONCE + 8)
    for domid in range(1, MOST_AT_ONCE + 9):
        seat.host.nodes.put(domid, {"memory/static-max": "abc"})
    seat.poll(20.0)
    assert len(seat.memory.words("node-unreadable")) == MOST_AT_ONCE - 1  # and dom0
    seat.poll()
    assert len(seat.memory.words("node-unreadable")) == MOST_AT_ONCE + 8


def test_a_xenstored_that_cannot_be_asked_is_not_asked_at_every_poll() -> None:
    """A poll must not wait for it: the next look is half a minute later."""
    seat = seat_of()
    seat.host.nodes.put(1, {"memory/static-max": "abc"})
    seat.host.fail("facts", EIO, times=2)
    seat.poll(20.0)
    seat.poll(20.0)
    assert seat.memory.words("node-unreadable") == []
    seat.poll(20.0)
    assert len(seat.memory.words("node-unreadable")) == 1


def test_an_effect_that_fails_is_a_condition_until_it_is_written() -> None:
    """Health names what could not be written besides the limit."""
    seat = seat_of()
    seat.host.fail("write", EIO)
    seat.grant(1, SetMaxMem(mib(100)))
    seat.poll()
    assert kinds_of(seat) == [(1, "effect-failed")]
    seat.host.heal()
    seat.poll(100.0)
    seat.poll()
    assert kinds_of(seat) == []


class Surprising:
    """A port whose verb meets a fault of ours with domain 2."""

    def __init__(self, inner: Any, verb: str, surprise: Exception) -> None:
        self._inner, self._verb, self._surprise = inner, verb, surprise

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        if name != self._verb:
            return call

        def met(domid: int, *args: Any, **options: Any) -> Any:
            if domid == 2:
                raise self._surprise
            return call(domid, *args, **options)

        return met


SURPRISES = [
    ValueError("Exceeds the limit (4300 digits) for integer string conversion"),
    KeyError("vm"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    OverflowError("int too large"),
    TypeError("not a str"),
    RecursionError("too deep"),
    DomainFault("cannot go on with domain 2: it is a fault of maxmemd (ValueError: x)"),
]


@pytest.mark.parametrize("surprise", SURPRISES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("verb", ["facts", "set_max_mem", "write"])
def test_what_one_domain_leads_to_does_not_reach_the_others(
    verb: str, surprise: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Drift of the others is healed, newcomers are adopted, wishes are granted; it is named."""
    seat = seat_of(3)
    port = "hypervisor" if verb == "set_max_mem" else "xenstore"
    setattr(seat, port, Surprising(getattr(seat, port), verb, surprise))
    seat.restart()
    seat.host.create("late", memory=mib(64), maxmem=mib(128))
    for domid in (1, 2, 3):
        seat.host.foreign_write(domid, mib(5))
    with caplog.at_level(logging.ERROR):
        for _ in range(8):
            seat.poll()
    assert [seat.pages(domid) for domid in (1, 3, 4)] == [65 * 256] * 3
    assert seat.record(4).revision == 1
    assert seat.grant(1, SetMaxMem(mib(100))).is_done
    answer = seat.ask(2, SetMaxMem(mib(100)))
    assert isinstance(answer, MaxmemError) == (verb == "facts")
    views = seat.arbiter.turn([LookAtDomains()])[0]
    assert isinstance(views, tuple)
    assert {view.domid for view in views} == {0, 1, 2, 3, 4}
    if verb == "facts":
        assert seat.arbiter.figures.domain_faults > 0
        why = f"{type(surprise).__name__}: {surprise}"
        named = Condition(seat.uuid(2), 2, None, "not-compared", why)
        assert seat.arbiter.conditions == (named,)
    elif verb == "set_max_mem":
        assert seat.state(2) == "failed"
    logged = len([record for record in caplog.records if record.exc_info])
    for _ in range(8):
        seat.poll()
    assert logged > 0
    assert len([record for record in caplog.records if record.exc_info]) == logged


@pytest.mark.parametrize("name", ["may_push", "contradiction", "adopted"])
def test_a_rule_that_fails_for_one_domain_fails_for_no_other(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the policy is counted and named, and over when a poll goes well again."""
    seat = seat_of(2)
    for domid in (1, 2):
        seat.grant(domid, SetMaxMem(mib(96)))
    rule = getattr(lives, name)

    def failing(*args: Any, **options: Any) -> Any:
        record = args[1] if args else None
        if getattr(record, "uuid", None) in (None, seat.uuid(2)):
            raise ZeroDivisionError
        return rule(*args, **options)

    monkeypatch.setattr(lives, name, failing)
    seat.restart()
    seat.host.foreign_write(1, mib(5))
    seat.host.create("late", memory=mib(64))
    seat.poll()
    assert seat.pages(1) == 97 * 256
    monkeypatch.undo()
    seat.poll()
    seat.poll()
    assert kinds_of(seat) == []
    assert seat.record(3).revision == 1


def test_trouble_of_the_world_is_no_surprise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full ledger and a Xen that cannot be asked end a poll as ever; memory is no domain's."""
    seat = seat_of()
    note = seat.arbiter.lifecycle.surprises.note
    for trouble in (LedgerFull("full"), HypervisorError.of("ask", None, EIO), MemoryError()):
        with pytest.raises(type(trouble)):
            note("any", trouble)
    assert seat.arbiter.lifecycle.surprises.count == 0


def test_a_node_of_5000_digits_is_no_surprise() -> None:
    """It is read, named, and everything goes on."""
    seat = seat_of(2)
    seat.host.nodes.put(1, {"memory/target": "9" * 5000, "memory/videoram": "9" * 5000})
    seat.host.foreign_write(2, Memory(kib=4096))
    seat.poll(20.0)
    seat.poll()
    assert seat.pages(2) == 65 * 256
    assert seat.arbiter.figures.domain_faults == 0
    assert {kind for _, kind in kinds_of(seat)} == {"node-unreadable"}
    assert seat.grant(1, Increase(DM, 4)).is_done


def test_a_fault_met_with_no_domain_ends_only_what_was_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was looked at for all is asked for alone; a request that fails is answered so."""
    seat = seat_of()

    def failing(*args: Any, **options: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "observe_ahead", failing)
        assert seat.grant(1, SetMaxMem(mib(96))).is_done
        patch.setattr(Batch, "answer", failing)
        patch.setattr(type(seat.arbiter.queries), "_domains", failing)
        assert isinstance(seat.ask(1, SetMaxMem(mib(97))), DomainFault)
        (answer,) = seat.arbiter.turn([LookAtDomains()])
        assert isinstance(answer, DomainFault)
    assert seat.arbiter.lifecycle.surprises.count >= 3
    assert seat.grant(1, SetMaxMem(mib(98))).is_done
