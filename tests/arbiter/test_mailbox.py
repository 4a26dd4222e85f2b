"""The arbiter's thread and its queue: batches, trouble, giving up, and an orderly end."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import Any, cast

import pytest

from maxmemd.arbiter import mailbox as module
from maxmemd.arbiter import thread
from maxmemd.arbiter.actor import Arbiter
from maxmemd.arbiter.mailbox import Mailbox
from maxmemd.arbiter.messages import (
    Answer,
    DecisionRequest,
    HostView,
    LookAtDomain,
    LookAtHost,
    Query,
)
from maxmemd.arbiter.status import Figures
from maxmemd.arbiter.thread import ArbiterThread
from maxmemd.errors import ArbiterBusy, LedgerCorrupt, MaxmemError
from maxmemd.histogram import SECONDS, Histogram
from maxmemd.policy.facts import HostFacts
from maxmemd.policy.wishes import SetMaxMem
from maxmemd.units import UNLIMITED
from tests.support.fakes import FakeClock

LOOK = LookAtHost()
VIEW = HostView(HostFacts(0, 0, 0, 0, "fake"), 0)
PATIENCE_S = 20.0
A_WHILE_S = 0.2


class FakePruning:
    """Strides that are counted; the next one is due as long as there are some left."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.left, self.done = clock, 0, 0

    @property
    def due_s(self) -> float:
        """Return when the next stride is due."""
        return self.clock.monotonic_s() if self.left else inf

    def step(self) -> None:
        """Do one stride, if one is left."""
        if self.left:
            self.left, self.done = self.left - 1, self.done + 1


class FakeArbiter:
    """An arbiter with scripted answers, which stops on command."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.pruning = FakePruning(self.clock)
        self.batches: list[int] = []
        self.strides: list[int] = []
        self.polls = 0
        self.polled = threading.Event()
        self.entered = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self.has_notes = False
        self.commits = 0
        self.flushed = threading.Event()
        self.wrong: Exception | None = None
        self.wrong_poll: Exception | None = None
        self.answers: Callable[[DecisionRequest | Query], Answer | MaxmemError] = lambda _: VIEW

    @property
    def figures(self) -> Figures:
        """Return how many commits there were, and nothing else."""
        nothing = Histogram(SECONDS).snapshot()
        return Figures("ok", 0, self.commits, 0, 0, 0, 0, 0, 0, {}, nothing, nothing)

    def start(self) -> None:
        """Do as a poll does."""
        self.poll()

    def stop(self) -> None:
        """Do as a poll does."""
        self.poll()

    def flush(self) -> None:
        """Write what was noted: nothing waits afterwards."""
        self.has_notes = False
        self.commits += 1
        self.flushed.set()

    def poll(self) -> None:
        """Count, or raise."""
        self.polls += 1
        self.polled.set()
        if self.wrong_poll is not None:
            raise self.wrong_poll

    def turn(self, asks: Sequence[DecisionRequest | Query]) -> list[Answer | MaxmemError]:
        """Answer a batch once it may go on."""
        self.batches.append(len(asks))
        self.strides.append(self.pruning.done)
        self.entered.set()
        assert self.go.wait(PATIENCE_S)
        if self.wrong is not None:
            raise self.wrong
        return [self.answers(ask) for ask in asks]


def mailbox_of(
    arbiter: FakeArbiter,
    *,
    poll_s: float = 3600.0,
    on_commit: Callable[[], None] = lambda: None,
) -> Mailbox:
    """Return a mailbox for a fake arbiter."""
    return Mailbox(
        lambda: cast(Arbiter, arbiter),
        poll_s=poll_s,
        on_commit=on_commit,
        monotonic_s=arbiter.clock.monotonic_s,
    )


def run(
    story: Callable[[FakeArbiter, Mailbox], Coroutine[Any, Any, None]],
    on_commit: Callable[[], None] = lambda: None,
) -> FakeArbiter:
    """Play a story with a mailbox that has started, and stop it."""
    arbiter = FakeArbiter()

    async def play() -> None:
        mailbox = mailbox_of(arbiter, on_commit=on_commit)
        await mailbox.start()
        try:
            await asyncio.wait_for(story(arbiter, mailbox), PATIENCE_S)
        finally:
            arbiter.go.set()
            await mailbox.stop()

    asyncio.run(play())
    return arbiter


async def busy(arbiter: FakeArbiter, mailbox: Mailbox) -> "asyncio.Future[Answer]":
    """Let the arbiter begin one batch of one, and stay in it."""
    arbiter.go.clear()
    first = mailbox.ask(LOOK)
    assert await asyncio.to_thread(arbiter.entered.wait, PATIENCE_S)
    return first


def test_an_answer() -> None:
    """What is asked is answered; the start and the end each poll once."""

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        assert mailbox.status.xen == "ok"
        assert await mailbox.ask(LOOK) is VIEW
        assert mailbox.is_prompt()

    arbiter = run(story)
    assert (arbiter.batches, arbiter.polls) == ([1], 2)


def test_what_waits_is_one_batch() -> None:
    """All that is asked while a batch runs is the next batch."""

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        first = await busy(arbiter, mailbox)
        others = [mailbox.ask(LOOK) for _ in range(9)]
        arbiter.go.set()
        assert set(await asyncio.gather(first, *others)) == {VIEW}

    assert run(story).batches == [1, 9]


def test_who_comes_a_moment_later_is_not_left_behind() -> None:
    """A batch waits while each pass of the event loop brings another wish, after a long one."""

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        first = await busy(arbiter, mailbox)
        await asyncio.sleep(A_WHILE_S)
        arbiter.go.set()
        assert await first is VIEW
        assert set(await asyncio.gather(*await one_by_one(mailbox, 9))) == {VIEW}

    assert run(story).batches == [1, 9]


def test_a_flood_holds_no_batch_back() -> None:
    """Where the batch before took no time, the first wish does not wait for those after it."""

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        await asyncio.gather(*await one_by_one(mailbox, 9))

    assert run(story).batches[0] == 1


async def one_by_one(mailbox: Mailbox, count: int) -> "list[asyncio.Future[Answer]]":
    """Ask a number of times, once in each pass of the event loop."""
    asked = []
    for _ in range(count):
        asked.append(mailbox.ask(LOOK))
        await asyncio.sleep(0)
    return asked


def test_no_batch_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than fits one transaction are several batches, in order."""
    monkeypatch.setattr(module, "MOST_IN_BATCH", 4)

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        first = await busy(arbiter, mailbox)
        others = [mailbox.ask(LOOK) for _ in range(9)]
        arbiter.go.set()
        await asyncio.gather(first, *others)

    assert run(story).batches == [1, 4, 4, 1]


def test_a_full_queue_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """One wish more than may wait is refused at once as arbiter-busy."""
    monkeypatch.setattr(module, "MOST_WAITING", 3)

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        first = await busy(arbiter, mailbox)
        others = [mailbox.ask(LOOK) for _ in range(3)]
        with pytest.raises(ArbiterBusy, match="3 wait for the arbiter already"):
            await mailbox.ask(LOOK)
        arbiter.go.set()
        await asyncio.gather(first, *others)

    assert run(story).batches == [1, 3]


class NoOwner:
    """Hears of everything, and does nothing."""

    def on_started(self, error: Exception | None) -> None:
        """Ignore that there is an arbiter."""

    def on_first_sync(self) -> None:
        """Ignore that limits are in force."""

    def on_answered(self, answers: Sequence[Answer | MaxmemError]) -> None:
        """Ignore the answers."""

    def on_committed(self) -> None:
        """Ignore what was committed."""

    def on_ended(self) -> None:
        """Ignore that it ends."""


def test_a_batch_waits_for_one_stride_of_pruning_at_most() -> None:
    """Between two batches that wait there is one stride, however much there is to prune."""
    arbiter = FakeArbiter()
    arbiter.pruning.left = 10**9
    thread = ArbiterThread(
        lambda: cast(Arbiter, arbiter), NoOwner(), poll_s=3600.0, alive=lambda: None
    )
    for _ in range(3):
        thread.submit([LOOK])
    thread.start()
    thread.end()
    thread.join()
    assert arbiter.strides == [1, 2, 3]


def test_errors_are_answers() -> None:
    """An error among the answers is raised only to its own caller."""

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        error = LedgerCorrupt("cannot")
        arbiter.answers = lambda ask: error if ask is bad else VIEW
        bad = LookAtDomain("x")
        answers = await asyncio.gather(
            mailbox.ask(LOOK), mailbox.ask(bad), mailbox.ask(LOOK), return_exceptions=True
        )
        assert answers == [VIEW, error, VIEW]

    run(story)


def test_a_fault_of_ours_is_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """When a turn raises what it must not, its batch is answered and the next one is served."""

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        arbiter.wrong = ZeroDivisionError("oops")
        with pytest.raises(MaxmemError, match="cannot decide: ") as caught:
            await mailbox.ask(LOOK)
        assert caught.value.code == "internal"
        arbiter.wrong = None
        assert await mailbox.ask(LOOK) is VIEW

    run(story)
    assert "a batch of 1 failed" in caplog.text


def test_a_cancelled_wait_harms_no_other_client() -> None:
    """A client that went away is not answered; the others of its batch are."""

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        first = await busy(arbiter, mailbox)
        first.cancel()
        second = mailbox.ask(LOOK)
        arbiter.go.set()
        assert await second is VIEW

    run(story)


def test_giving_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits too long for the arbiter is answered arbiter-busy; later answers are dropped."""

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        mailbox.give_up()
        first = await busy(arbiter, mailbox)
        second = mailbox.ask(LOOK)
        mailbox.give_up()
        assert not first.done()
        assert mailbox.is_prompt()
        monkeypatch.setattr(module, "ANSWER_WITHIN_S", -1.0)
        assert not mailbox.is_prompt()
        mailbox.give_up()
        mailbox.give_up()
        for future in (first, second):
            with pytest.raises(ArbiterBusy, match="whether the wish was granted is in the history"):
                await future
        third = mailbox.ask(LOOK)
        arbiter.go.set()
        assert await third is VIEW

    assert run(story).batches == [1, 1]


def test_giving_up_counts_from_the_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from the begin of the batch: who came behind a slow one has waited for that as well."""
    now = [0.0]

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        monkeypatch.setattr(module, "monotonic", lambda: now[0])
        first = await busy(arbiter, mailbox)
        now[0] = 1.0
        second = mailbox.ask(LOOK)
        now[0] = 6.0
        arbiter.go.set()
        assert await first is VIEW
        arbiter.go.clear()
        third = mailbox.ask(LOOK)
        now[0] = 7.9
        mailbox.give_up()
        assert not second.done()
        now[0] = 8.0
        mailbox.give_up()
        with pytest.raises(ArbiterBusy):
            await second
        assert not third.done()
        arbiter.go.set()
        assert await third is VIEW

    run(story)


def test_a_kick_polls() -> None:
    """A kick from any thread makes one poll soon, though none is due."""

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        arbiter.polled.clear()
        await asyncio.to_thread(mailbox.thread.poll_soon)
        assert await asyncio.to_thread(arbiter.polled.wait, PATIENCE_S)

    assert run(story).polls == 3


def test_polls_come_by_themselves() -> None:
    """When a poll is due it is made, whether or not anybody asks."""
    arbiter = FakeArbiter()

    async def play() -> None:
        mailbox = mailbox_of(arbiter, poll_s=0.0)
        await mailbox.start()
        while arbiter.polls < 5:
            arbiter.polled.clear()
            assert await asyncio.to_thread(arbiter.polled.wait, PATIENCE_S)
        await mailbox.stop()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (MaxmemError("cannot"), "internal: cannot"),
        (LedgerCorrupt("cannot trust"), "ledger-corrupt: cannot trust"),
        (ZeroDivisionError("oops"), "internal: ZeroDivisionError('oops')"),
    ],
    ids=["ours", "ledger", "fault"],
)
def test_trouble_with_the_watch(
    error: Exception, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A poll that fails is logged once, and its end with the next good one."""
    caplog.set_level("INFO")

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        arbiter.wrong_poll = error
        for _ in range(2):
            mailbox.thread.poll_soon()
            await mailbox.ask(LOOK)
        await mailbox.ask(LOOK)
        assert mailbox.status.xen == trouble
        arbiter.wrong_poll = None
        mailbox.thread.poll_soon()
        await mailbox.ask(LOOK)
        await mailbox.ask(LOOK)
        assert mailbox.status.xen == "ok"

    run(story)
    said = [r.message for r in caplog.records if r.message.startswith("the watch over Xen")]
    assert said == [f"the watch over Xen: {what}" for what in ("ok", trouble, "ok")]


@pytest.mark.parametrize("error", [LedgerCorrupt("cannot trust"), PermissionError("no")])
def test_an_arbiter_that_cannot_be_made(error: Exception) -> None:
    """What goes wrong when the ledger is opened is raised by start, and no thread is left."""

    def make() -> Arbiter:
        raise error

    async def play() -> None:
        mailbox = Mailbox(make, poll_s=1.0)
        with pytest.raises(type(error)):
            await asyncio.wait_for(mailbox.start(), PATIENCE_S)
        assert not mailbox.is_prompt()
        await mailbox.stop()

    asyncio.run(play())


def test_stopping_answers_everybody() -> None:
    """The running batch is answered at the end, and waiting wishes are answered `retry`."""

    async def play() -> None:
        arbiter = FakeArbiter()
        mailbox = mailbox_of(arbiter)
        await mailbox.start()
        first = await busy(arbiter, mailbox)
        second = mailbox.ask(LOOK)
        stopping = asyncio.create_task(mailbox.stop())
        await asyncio.sleep(0)
        arbiter.go.set()
        assert await asyncio.wait_for(first, PATIENCE_S) is VIEW
        await asyncio.wait_for(stopping, PATIENCE_S)
        with pytest.raises(ArbiterBusy, match="stops"):
            await asyncio.wait_for(second, PATIENCE_S)
        with pytest.raises(ArbiterBusy, match="stops"):
            await asyncio.wait_for(mailbox.ask(LOOK), PATIENCE_S)

    asyncio.run(play())


def test_an_arbiter_that_comes_round_after_the_event_loop_has_ended() -> None:
    """A stop gives up what hangs: what its thread reports later has no effect, and no traceback."""

    async def play() -> Mailbox:
        mailbox = mailbox_of(FakeArbiter())
        await mailbox.start()
        await mailbox.stop()
        return mailbox

    mailbox = asyncio.run(play())
    mailbox.on_answered([])
    mailbox.on_committed()
    mailbox.on_ended()


def test_stopping_needs_no_thread_of_the_pool() -> None:
    """All of them may be busy with what does not end."""
    never = threading.Event()

    async def story(_: FakeArbiter, mailbox: Mailbox) -> None:
        with ThreadPoolExecutor(1) as pool:
            asyncio.get_running_loop().set_default_executor(pool)
            held = asyncio.get_running_loop().run_in_executor(None, never.wait)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await mailbox.stop()
            finally:
                never.set()
            await held

    run(story)


def test_an_idle_arbiter_writes_its_notes() -> None:
    """Notes do not wait for the next poll if no wish comes."""

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        arbiter.has_notes = True
        await mailbox.ask(LOOK)
        assert await asyncio.to_thread(arbiter.flushed.wait, PATIENCE_S)

    assert run(story).has_notes is False


class _Ear:
    """Counts commits."""

    def __init__(self) -> None:
        self.woken = 0
        self.news = asyncio.Event()

    def on_commit(self) -> None:
        """Count."""
        self.woken += 1
        self.news.set()


def test_a_listener_hears_of_commits_and_of_nothing_else() -> None:
    """A batch that commits wakes the listener once; one that only looks does not."""
    ear = _Ear()

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        await mailbox.ask(LOOK)
        assert ear.woken == 0
        arbiter.commits += 3
        await asyncio.gather(*(mailbox.ask(LOOK) for _ in range(9)))
        assert ear.woken == 1
        await mailbox.ask(LOOK)
        assert ear.woken == 1

    run(story, ear.on_commit)


def test_a_listener_hears_of_what_no_batch_wrote() -> None:
    """Notes that an idle arbiter writes wake it as well."""
    ear = _Ear()

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        arbiter.has_notes = True
        await mailbox.ask(LOOK)
        await asyncio.wait_for(ear.news.wait(), PATIENCE_S)
        assert ear.woken == 1

    run(story, ear.on_commit)


def test_a_watch_that_hangs_is_not_prompt() -> None:
    """An arbiter that has not completed its loop for long is stuck, even if no wish waits."""

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        await mailbox.ask(LOOK)
        arbiter.clock.forward(3600.0 + module.ANSWER_WITHIN_S)
        assert mailbox.is_prompt()
        arbiter.clock.forward(0.1)
        assert not mailbox.is_prompt()
        assert mailbox.thread.age_s > 3600.0
        arbiter.clock.forward(-3605.1)

    run(story)


def test_what_is_measured() -> None:
    """How many were in a batch, how long wishes took, and how many wait now."""

    async def story(arbiter: FakeArbiter, mailbox: Mailbox) -> None:
        first = await busy(arbiter, mailbox)
        rest = [mailbox.ask(DecisionRequest("web", SetMaxMem(UNLIMITED), "{}")) for _ in range(3)]
        assert mailbox.depth == 4
        arbiter.go.set()
        await asyncio.gather(first, *rest)
        assert mailbox.depth == 0
        assert dict(mailbox.status.batch_sizes.buckets())["1.0"] == 1
        assert mailbox.status.batch_sizes.total == 4
        assert sum(mailbox.took_s.counts) == 3

    run(story)


def test_what_no_step_may_raise_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread that has failed is not left behind a process that answers busy for ever."""
    ends: list[int] = []
    monkeypatch.setattr(thread.os, "_exit", ends.append)

    async def play(*, alive: bool) -> None:
        def fails(*_: object) -> None:
            raise OSError(9, "oops")

        arbiter = FakeArbiter()
        mailbox = mailbox_of(arbiter)
        if alive:
            mailbox.thread._alive = fails
        await mailbox.start()
        if not alive:
            mailbox.thread.call_soon(fails)
        await asyncio.to_thread(mailbox.thread._thread.join, PATIENCE_S)

    for alive in (True, False):
        asyncio.run(play(alive=alive))
    assert ends == [1, 1]
    said = [r for r in caplog.records if r.levelname == "CRITICAL"]
    assert len(said) == 2
    assert "and this process ends with it" in said[0].message


def test_the_first_comparison_is_tried_until_it_succeeds() -> None:
    """However rare polls are, it is tried again soon; only then do Xen and the ledger agree."""

    async def until(arbiter: FakeArbiter, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not done():
                arbiter.clock.forward(thread.AGAIN_S)
                await asyncio.sleep(0.01)

    async def play() -> None:
        arbiter = FakeArbiter()
        arbiter.wrong_poll = MaxmemError("cannot ask Xen")
        mailbox = mailbox_of(arbiter, poll_s=1e9)
        await mailbox.start()
        try:
            await until(arbiter, lambda: arbiter.polls > 3)
            assert not mailbox.first_sync.is_set()
            arbiter.wrong_poll = None
            await until(arbiter, mailbox.first_sync.is_set)
            polls = arbiter.polls
            for _ in range(5):
                arbiter.clock.forward(thread.AGAIN_S)
                await mailbox.ask(LOOK)
            assert arbiter.polls == polls
        finally:
            await mailbox.stop()

    asyncio.run(play())


def test_only_an_arbiter_that_gets_on_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog's call comes while the arbiter is idle, and not while it hangs in a batch."""
    monkeypatch.setattr(thread, "IDLE_S", 0.01)
    arbiter = FakeArbiter()
    step = threading.Event()

    async def play() -> None:
        mailbox = Mailbox(lambda: cast(Arbiter, arbiter), poll_s=3600.0, alive=step.set)
        await mailbox.start()
        assert await asyncio.to_thread(step.wait, PATIENCE_S)
        asked = await busy(arbiter, mailbox)
        step.clear()
        assert not await asyncio.to_thread(step.wait, A_WHILE_S)
        arbiter.go.set()
        assert await asked is VIEW
        assert await asyncio.to_thread(step.wait, PATIENCE_S)
        await mailbox.stop()

    asyncio.run(asyncio.wait_for(play(), PATIENCE_S))
