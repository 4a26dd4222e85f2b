"""The queue before the arbiter: handlers put a wish in and await the verdict.

The event loop gathers wishes while a batch runs, and until none arrives any more. Then it submits
them as one batch, with one wake-up of each thread; no timer delays an idle arbiter.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, overload

from maxmemd.arbiter.actor import Arbiter
from maxmemd.arbiter.messages import (
    Answer,
    Ask,
    DecisionRequest,
    DomainView,
    DomainViews,
    DriftRequest,
    Granted,
    HostView,
    LookAtDomain,
    LookAtDomains,
    LookAtHost,
    LookAtMore,
    Refused,
)
from maxmemd.arbiter.settings import Settings
from maxmemd.arbiter.status import Status
from maxmemd.arbiter.thread import ArbiterThread
from maxmemd.errors import ArbiterBusy, MaxmemError
from maxmemd.histogram import SECONDS, Histogram

MOST_WAITING = 4096
"""Wishes that may wait for the arbiter; one more is refused as arbiter-busy."""

MOST_IN_BATCH = 256
"""Wishes decided in one transaction, so that none waits for a very long one."""

QUIET_PASSES = 3
"""A batch is submitted after this many passes of the event loop without a new wish."""

ANSWER_WITHIN_S = 7.0
"""A wish that waits longer since it arrived is answered arbiter-busy; it may still be granted.

Longer than it takes to replace a pusher that hangs (its WatchdogSec=6), so that a client sees that
as a pause. And, with the second that give_up() may come late, shorter than our own WatchdogSec=10
takes at least, so that a client has this answer before its connection is lost.
"""

_Waiting = tuple[Ask, asyncio.Future[Answer], float]


class Mailbox:
    """Runs an Arbiter in a thread of its own. `ask` belongs to the event loop's thread."""

    def __init__(
        self,
        make: Callable[[], Arbiter],
        *,
        poll_s: float,
        alive: Callable[[], None] = lambda: None,
        on_commit: Callable[[], None] = lambda: None,
        monotonic_s: Callable[[], float] = monotonic,
    ) -> None:
        """`make` is called once in the arbiter's thread, and `alive` there after every step.

        `on_commit` is called in the event loop's thread after a commit.
        """
        self.thread = ArbiterThread(make, self, poll_s=poll_s, alive=alive, monotonic_s=monotonic_s)
        self._waiting: deque[_Waiting] = deque()
        self._current: list[_Waiting] = []
        self._began_s = self._last_s = self._gather_until_s = 0.0
        self._stopping = False
        self._ready: asyncio.Future[None] | None = None
        self._ended = asyncio.Event()
        self.took_s = Histogram(SECONDS)
        self._on_commit = on_commit
        self.first_sync = asyncio.Event()
        """Set once Xen and the ledger were compared, so that limits are in force."""

    async def start(self) -> None:
        """Start the thread and wait until it has tried to compare Xen with the ledger.

        Raises LedgerError when the ledger cannot be trusted or opened. Where Xen cannot be
        asked the mailbox starts all the same, says so in `trouble`, and tries again.
        """
        self._loop = asyncio.get_running_loop()
        self._ready = self._loop.create_future()
        self.thread.start()
        await self._ready

    async def stop(self) -> None:
        """Let the batch that runs end, write the notes, and end the thread.

        What still waits is answered arbiter-busy, and so are all later requests.
        """
        self._stopping = True
        self.thread.end()
        await self._ended.wait()  # needs no thread of a pool, which may be full
        self.thread.join()
        for _, future, _ in self._waiting:
            if not future.done():
                future.set_exception(_stops())
        self._waiting.clear()

    @property
    def status(self) -> Status:
        """How the arbiter fares, as its thread last published it."""
        return self.thread.status

    def reconfigure(self, settings: Settings, *, poll_s: float) -> None:
        """Let the arbiter decide by these settings from its next batch or poll on."""
        self.thread.poll_s = poll_s
        self.thread.call_soon(lambda arbiter: arbiter.reconfigure(settings))

    @overload
    def ask(self, item: DecisionRequest) -> asyncio.Future[Granted | Refused]: ...

    @overload
    def ask(self, item: DriftRequest) -> asyncio.Future[DomainView | Refused]: ...

    @overload
    def ask(self, item: LookAtHost) -> asyncio.Future[HostView]: ...

    @overload
    def ask(self, item: LookAtDomains | LookAtMore) -> asyncio.Future[DomainViews]: ...

    @overload
    def ask(self, item: LookAtDomain) -> asyncio.Future[DomainView | Refused]: ...

    def ask(self, item: Ask) -> asyncio.Future[Any]:
        """Queue a wish or a question; the future gets its answer or a MaxmemError."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        if self._stopping:
            future.set_exception(_stops())
            return future
        if len(self._waiting) >= MOST_WAITING:
            busy = f"cannot take another wish: {MOST_WAITING} wait for the arbiter already"
            future.set_exception(ArbiterBusy(busy))
            return future
        self._waiting.append((item, future, monotonic()))
        if len(self._waiting) == 1 and not self._current:
            self._begin_to_gather()
        return future

    def give_up(self) -> None:
        """Answer arbiter-busy to requests that waited too long. Called about once a second.

        That is since each arrived, so that one behind a slow batch waits no longer than others; and
        where a batch is stuck, of all that wait: the watchdog may end the daemon before their time.
        """
        now_s = monotonic()
        is_stuck = self._current and now_s - self._began_s >= ANSWER_WITHIN_S
        before_s = now_s if is_stuck else now_s - ANSWER_WITHIN_S
        busy = ArbiterBusy(
            f"cannot answer within {ANSWER_WITHIN_S:.0f} s: the arbiter waits for Xen or the disk"
            " (whether the wish was granted is in the history; retry with an Idempotency-Key)"
        )
        for _, future, asked_s in (*self._current, *self._waiting):
            if asked_s <= before_s and not future.done():
                future.set_exception(busy)
        while self._waiting and self._waiting[0][2] <= before_s:  # in the order of arrival
            self._waiting.popleft()

    def is_prompt(self) -> bool:
        """Whether the arbiter's thread finished a batch, or compared Xen, recently enough."""
        busy = self._current and monotonic() - self._began_s > ANSWER_WITHIN_S
        stuck = self.thread.age_s > ANSWER_WITHIN_S + self.thread.poll_s
        return self.status.figures is not None and not busy and not stuck

    @property
    def depth(self) -> int:
        """How many wishes and questions wait, or are in the batch that runs."""
        return len(self._waiting) + len(self._current)

    def _begin_to_gather(self) -> None:
        self._gather_until_s = monotonic() + self._last_s
        self._loop.call_soon(self._gather, 0)

    def _gather(self, seen: int, quiet: int = 0) -> None:
        """Hand over once a few passes of the event loop have brought no further wish.

        Not longer than the batch before took, so that a flood of wishes makes no client wait more
        than twice as long.
        """
        # Clients that were answered together ask again together, but not in one pass of the loop:
        # each has a socket of its own. A batch that is handed over at the first wish would be a
        # batch of one, with an fsync of its own, and the others would wait for it. A pass costs
        # microseconds, an fsync milliseconds. Passes, not a timer: an idle loop makes them at
        # once, so that a lone client does not wait.
        waiting = len(self._waiting)
        quiet = 0 if waiting > seen else quiet + 1
        if quiet < QUIET_PASSES and monotonic() < self._gather_until_s:
            self._loop.call_soon(self._gather, waiting, quiet)
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the arbiter what waits, unless it is busy."""
        if self._current or not self._waiting or self._stopping:
            return
        size = min(len(self._waiting), MOST_IN_BATCH)
        self._current = [self._waiting.popleft() for _ in range(size)]
        self._began_s = monotonic()
        self.thread.submit([item for item, _, _ in self._current])

    # called in the arbiter's thread

    def on_started(self, error: Exception | None) -> None:
        """Let `start` return, or raise."""
        self._in_loop(self._end_start, error)

    def on_first_sync(self) -> None:
        """Let `first_sync` be set."""
        self._in_loop(self.first_sync.set)

    def on_answered(self, answers: Sequence[Answer | MaxmemError]) -> None:
        """Let the clients of the batch have their answers."""
        self._in_loop(self._resolve, answers)

    def on_committed(self) -> None:
        """Tell the event loop of a commit."""
        self._in_loop(self._on_commit)

    def on_ended(self) -> None:
        """Let `stop` return."""
        self._in_loop(self._ended.set)

    def _in_loop(self, step: Callable[..., object], *args: object) -> None:
        # `stop` gives a thread up that hangs. One that comes round after that has no loop to tell.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(step, *args)

    def _end_start(self, error: Exception | None) -> None:
        if self._ready is None or self._ready.done():
            return
        if error is None:
            self._ready.set_result(None)
        else:
            self._ready.set_exception(error)

    def _resolve(self, answers: Sequence[Answer | MaxmemError]) -> None:
        """Resolve a whole batch, in the event loop; then gather the next one."""
        # Free first, for a client that is answered may ask again at once. Gathered last: all of
        # them shall be able to before the next batch is closed.
        batch, self._current = self._current, []
        now_s = monotonic()  # the loop's own clock has milliseconds
        for (item, future, asked_s), answer in zip(batch, answers, strict=True):
            if type(item) is DecisionRequest:
                self.took_s.observe(now_s - asked_s)
            if future.done():
                continue
            if isinstance(answer, MaxmemError):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        self._last_s = monotonic() - self._began_s
        if self._waiting:
            self._begin_to_gather()


def _stops() -> ArbiterBusy:
    return ArbiterBusy("cannot decide: maxmemd stops (nothing of the wish was done; ask again)")
