"""When the history is pruned, and what becomes of wishes that need what is gone."""

import logging
from types import SimpleNamespace
from typing import cast

import pytest

from maxmemd.api import metrics
from maxmemd.api.health import service_conditions
from maxmemd.arbiter import pruning as module
from maxmemd.arbiter.mailbox import Mailbox
from maxmemd.arbiter.status import STARTING
from maxmemd.errors import LedgerBusy, LedgerCorrupt, LedgerError, LedgerFull
from maxmemd.histogram import SIZES, Histogram
from maxmemd.policy import retention
from maxmemd.policy.components import MAX_MEM
from maxmemd.policy.retention import DAY_NS, Retention
from maxmemd.policy.wishes import Rollback, SetComponent, SetMaxMem
from tests.support.fakes import MemoryLedger
from tests.support.seat import DM, Seat, mib


class Counted(MemoryLedger):
    """A ledger that counts its strides, and says what they come to."""

    def __init__(self) -> None:
        super().__init__()
        self.strides: list[tuple[Retention, int]] = []
        self.more = False
        self.wrong: Exception | None = None

    def prune(self, rule: Retention, now_ns: int) -> bool:
        """Count, or raise."""
        self.strides.append((rule, now_ns))
        if self.wrong is not None:
            raise self.wrong
        return self.more


def seat_of() -> tuple[Seat, Counted]:
    """Return a seat whose chain was checked."""
    ledger = Counted()
    seat = Seat(memory=ledger).restart()
    seat.arbiter.pruning.step()
    assert ledger.strides == []  # not before that
    seat.arbiter.pruning.allow()
    return seat, ledger


def metrics_say_ended(seat: Seat) -> float:
    """Return what the metric says of a seat's arbiter."""
    status = STARTING._replace(figures=seat.arbiter.figures)
    mailbox = SimpleNamespace(status=status, took_s=Histogram(SIZES))
    families = list(metrics._of_arbiter(cast(Mailbox, mailbox)))
    return next(it.samples[0].value for it in families if it.name == "maxmemd_pruning_ended")


def test_one_stride_is_made_every_ten_seconds() -> None:
    """Where there is nothing more to prune; by the rule and the time of then."""
    seat, ledger = seat_of()
    for _ in range(3):
        seat.arbiter.pruning.step()
    assert ledger.strides == [(Retention(), seat.clock.wall_ns())]
    seat.clock.forward(module.EVERY_S)
    seat.arbiter.pruning.step()
    assert len(ledger.strides) == 2


def test_while_there_is_more_strides_follow_with_a_pause() -> None:
    """So that decisions come between them."""
    seat, ledger = seat_of()
    ledger.more = True
    for _ in range(5):
        seat.arbiter.pruning.step()
        seat.arbiter.pruning.step()
        seat.clock.forward(module.PAUSE_S)
    assert len(ledger.strides) == 5


def test_a_jump_of_the_clock_makes_nothing_older() -> None:
    """Only time that passed since the start counts; a clock that goes back counts at once."""
    seat, ledger = seat_of()
    was_ns = seat.clock.wall_ns()
    seat.clock.at_ns += 1000 * DAY_NS
    seat.arbiter.pruning.step()
    seat.clock.at_ns = was_ns - DAY_NS
    seat.clock.now_s += module.EVERY_S
    seat.arbiter.pruning.step()
    assert [now_ns for _, now_ns in ledger.strides] == [was_ns, was_ns - DAY_NS]


def test_a_ledger_in_trouble_is_not_pruned() -> None:
    """Nothing is written to it until it has been read again."""
    seat, ledger = seat_of()
    ledger.fail(LedgerFull("cannot write: full"))
    assert isinstance(seat.ask(0, SetMaxMem(mib(8192))), LedgerError)
    seat.arbiter.pruning.step()
    assert ledger.strides == []
    seat.poll()
    seat.arbiter.pruning.step()
    assert len(ledger.strides) == 1


@pytest.mark.parametrize("error", [LedgerBusy("cannot prune: busy"), LedgerFull("cannot: full")])
def test_trouble_with_a_stride_is_tried_again(error: LedgerError) -> None:
    """It shows in the status, and decisions go on once the ledger has been read again."""
    seat, ledger = seat_of()
    ledger.wrong = error
    seat.arbiter.pruning.step()
    assert seat.arbiter.records.trouble is error
    ledger.wrong = None
    seat.poll(after_s=module.EVERY_S)
    assert seat.arbiter.records.trouble is None
    seat.arbiter.pruning.step()
    assert len(ledger.strides) == 2
    assert service_conditions(STARTING._replace(figures=seat.arbiter.figures)) == []
    assert metrics_say_ended(seat) == 0.0
    seat.grant(0, SetMaxMem(mib(8192)))


@pytest.mark.parametrize("wrong", [LedgerCorrupt("cannot trust entry 3"), KeyError("odd")])
def test_a_damaged_entry_ends_the_pruning_and_nothing_else(
    wrong: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """What is decided does not depend on it."""
    seat, ledger = seat_of()
    ledger.wrong = wrong
    with caplog.at_level(logging.CRITICAL):
        seat.arbiter.pruning.step()
    assert "the history is not pruned any more" in caplog.text
    assert seat.arbiter.figures.pruning_ended_by == str(wrong)
    assert metrics_say_ended(seat) == 1.0
    [told] = service_conditions(STARTING._replace(figures=seat.arbiter.figures))
    assert (told.kind, str(wrong) in told.detail) == ("pruning-ended", True)
    seat.poll(after_s=module.EVERY_S)
    seat.arbiter.pruning.step()
    assert len(ledger.strides) == 1
    assert seat.arbiter.records.trouble is None
    seat.grant(0, SetMaxMem(mib(8192)))


def test_rollback_after_pruning(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a revision that is kept it goes as before; to one that is gone it is refused as such."""
    monkeypatch.setattr(retention, "LEAST_KEPT", 1)
    seat = Seat()
    web = seat.host.create("web", memory=mib(64))
    seat.restart()
    seat.grant(web, SetComponent(DM, mib(1)))
    for amount in (80, 90, 100):
        seat.grant(web, SetMaxMem(mib(amount)))
    seat.memory.prune(Retention(days=1, entries=1), seat.clock.wall_ns() + 2 * DAY_NS)
    seat.restart()
    assert seat.refuse(web, Rollback(3)) == "revision-pruned"
    assert seat.refuse(web, Rollback(9)) == "unknown-revision"
    assert seat.record(web).amount(MAX_MEM) == mib(100)
    seat.grant(web, Rollback(2))
    assert seat.record(web).amount(MAX_MEM) == mib(64)


@pytest.mark.parametrize("years", [-30, 70])
def test_a_clock_that_begins_in_another_century_makes_nothing_old(years: int) -> None:
    """The newest entry was written when it was written: time goes on from there."""
    seat, ledger = seat_of()
    newest_ns = seat.clock.wall_ns()
    seat.clock.at_ns += years * 365 * DAY_NS
    pruning = module.Pruning(seat.arbiter.settings, seat.arbiter.records, seat.clock, newest_ns)
    pruning.allow()
    seat.clock.forward(5.0)
    pruning.step()
    [(_, now_ns)] = ledger.strides
    assert now_ns <= newest_ns + 5 * 10**9
