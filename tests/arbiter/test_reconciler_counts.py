"""What reconciliation counts, tells and raises, whatever else goes wrong at the same time."""

import logging
from collections.abc import Sequence
from errno import EPERM, ESRCH
from typing import Any

import pytest

from maxmemd.arbiter.limit_pusher import DuePush
from maxmemd.errors import LedgerError, LedgerFull
from maxmemd.policy.orders import Order, Outcome
from maxmemd.policy.wishes import Increase, SetMaxMem
from maxmemd.ports import Pusher
from maxmemd.units import Memory
from maxmemd.xen.simulated import finish
from tests.support.seat import DM, Seat, mib, web_of

THEIRS = mib(80)


@pytest.fixture
def seat() -> Seat:
    """Return a seat with two guests, web (1) and db (2), of 64 MiB that may grow to 128."""
    made = Seat()
    made.host.create("web", memory=mib(64), maxmem=mib(128))
    made.host.create("db", memory=mib(64), maxmem=mib(128))
    made.restart()
    return made


class PusherOf:
    """A pusher that takes its time for each order, and may leave the last without an answer."""

    def __init__(self, seat: Seat, *, takes_s: float = 0.0, loses: int = 0) -> None:
        self._seat, self._inner = seat, seat.arbiter.pusher
        self._takes_s, self._loses = takes_s, loses

    def push(self, orders: Sequence[Order]) -> Sequence[Outcome]:
        """Push, and let the time pass."""
        self._seat.clock.forward(self._takes_s * len(orders))
        return self._inner.push(orders)[: len(orders) - self._loses]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def push_with(seat: Seat, pusher: Any, *domids: int) -> None:
    """Push the records of these domains once more, through this pusher."""
    held: Pusher = pusher
    seat.arbiter.limits.pusher = held
    dues = [DuePush(seat.instance(i), seat.record(i), seat.instance(i).effects) for i in domids]
    seat.arbiter.limits.push(dues)


@pytest.mark.parametrize("domids", [(1,), (1, 2)])
def test_each_of_the_pushes_of_one_message_took_its_share_of_the_time(
    seat: Seat, domids: tuple[int, ...]
) -> None:
    """Four seconds each, however many went out together."""
    push_with(seat, PusherOf(seat, takes_s=4.0), *domids)
    took_s = seat.arbiter.limits.took_s.snapshot()
    assert (sum(took_s.counts), took_s.total) == (len(domids), 4.0 * len(domids))


def test_a_push_without_an_outcome_is_a_fault(seat: Seat) -> None:
    """Nothing is concluded from fewer answers than there were orders."""
    with pytest.raises(ValueError, match="shorter"):
        push_with(seat, PusherOf(seat, loses=1), 1, 2)


def test_every_drift_and_every_recovery_counts(seat: Seat) -> None:
    """Two domains, whose maximum another program wrote in the same moment, are two."""
    for domid in (1, 2):
        seat.host.foreign_write(domid, THEIRS)
    seat.poll()
    reconciler = seat.arbiter.reconciler
    assert (reconciler.drifts, reconciler.limits.healed) == (2, 2)


def test_a_limit_that_comes_in_force_the_first_time_is_no_recovery() -> None:
    """A rebuilt domain was pending without any drift: nothing is over when its limit holds."""
    seat = Seat().restart()
    finish(seat.host.building(web_of(64, 128)))
    seat.poll()
    seat.grant(1, SetMaxMem(mib(96)))
    born = seat.host.reboot(1)
    seat.poll()
    assert (seat.state(born), seat.memory.words("recovered")) == ("applied", [])


def test_drift_whose_push_failed_recovers_from_the_failure(seat: Seat) -> None:
    """The entry names the last trouble, and the drift is healed all the same."""
    seat.host.foreign_write(1, THEIRS)
    seat.host.fail("set_max_mem", EPERM, times=1)
    seat.poll()
    assert seat.state(1) == "failed"
    seat.poll(after_s=70.0)
    assert seat.memory.words("recovered") == [{"domid": 1, "from": "failed"}]
    assert seat.arbiter.limits.healed == 1


def test_too_much_is_noted_of_the_domain_that_holds_it(seat: Seat) -> None:
    """The entry is in that domain's history and in no other."""
    seat.grant(1, SetMaxMem(mib(32), force=True))
    seat.poll()
    assert ("over-limit" in seat.kinds(1), "over-limit" in seat.kinds(2)) == (True, False)


def test_a_push_that_shows_a_domains_end_answers_with_what_xen_said(seat: Seat) -> None:
    """The client hears that it is gone, with the errno and the words of the refusal."""

    class Dying(PusherOf):
        def push(self, orders: Sequence[Order]) -> Sequence[Outcome]:
            seat.host.fail("set_max_mem", ESRCH, domid=1)
            seat.host.fail("domain", ESRCH, domid=1)
            return super().push(orders)

    dying: Any = Dying(seat)
    seat.arbiter.limits.pusher = dying
    push = seat.grant(1, SetMaxMem(mib(96))).push
    assert push is not None
    assert (push.state, push.errno) == ("gone", ESRCH)
    assert push.error == "cannot set max mem on domain 1: ESRCH (No such process)"


@pytest.mark.parametrize("kind", ["push-failed", "push-mismatched"])
def test_a_push_that_does_not_hold_is_logged_by_its_kind(
    seat: Seat, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused is one thing; taken, and read back as another number, is the other."""
    caplog.set_level(logging.INFO, "maxmemd.domains")
    if kind == "push-failed":
        seat.host.fail("set_max_mem", EPERM, times=1)
    else:
        seat.host.lie(1, -5)
    seat.grant(1, SetMaxMem(mib(96)))
    assert [vars(one)["fields"]["kind"] for one in caplog.records] == [kind]


def test_a_poll_raises_what_kept_an_adoption_from_the_ledger(seat: Seat) -> None:
    """Though nothing after it needs the ledger."""
    seat.host.create("new", memory=mib(64))
    seat.memory.fail(LedgerFull("cannot write: full"))
    with pytest.raises(LedgerError):
        seat.arbiter.reconciler.poll(seat.arbiter.pusher.domains())


def test_a_poll_raises_what_kept_a_foreign_maximum_from_the_ledger() -> None:
    """Likewise where one domain's drift is adopted."""
    seat = Seat(drift="adopt")
    seat.host.create("web", memory=mib(64))
    seat.restart()
    seat.host.foreign_write(1, THEIRS)
    seat.memory.fail(LedgerFull("cannot write: full"))
    with pytest.raises(LedgerError):
        seat.arbiter.reconciler.poll(seat.arbiter.pusher.domains())


def test_a_domain_that_has_no_record_yet_holds_up_no_other() -> None:
    """One whose maximum is not set yet comes first, and the drift of the next is put right."""
    seat = Seat().restart()
    life = seat.host.creating("web", memory=mib(64))
    next(life)
    db = seat.host.create("db", memory=mib(64))
    seat.poll()
    assert seat.arbiter.records.get(seat.uuid(1)) is None
    seat.host.foreign_write(db, THEIRS)
    seat.poll()
    assert seat.pages(db) == 65 * 256


def test_what_the_toolstack_wrote_is_kept_where_a_push_beside_takes_its_place() -> None:
    """Of a domain that is built while its other half is decided on."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(64), maxmem=mib(128))
    seat.restart()
    life = seat.host.migrating(web)
    for step in life:
        seat.poll()
        if step.name == "limited":
            break
    theirs = seat.pages(step.domid)
    seat.grant(web, SetMaxMem(mib(96)))
    born = seat.instance(step.domid)
    assert (seat.pages(step.domid), born.toolstack_pages) == (97 * 256, theirs)


def test_what_xen_holds_is_known_though_the_push_after_an_adoption_failed() -> None:
    """A maximum below what the others have is adopted as far as can be, and ours is refused."""
    seat = Seat(drift="adopt")
    seat.host.create("web", memory=mib(64), maxmem=mib(128))
    seat.restart()
    seat.grant(1, Increase(DM, 256))
    seat.host.foreign_write(1, Memory(kib=128))
    seat.host.fail("set_max_mem", EPERM)
    seat.poll()
    assert (seat.state(1), seat.instance(1).seen_pages, seat.pages(1)) == ("failed", 32, 32)
