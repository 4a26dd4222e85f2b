"""The arbiter's thread: it takes batches, polls Xen in between, and publishes how it fares."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Protocol

from maxmemd.arbiter.actor import Arbiter
from maxmemd.arbiter.messages import Answer, Ask
from maxmemd.arbiter.status import STARTING, Status
from maxmemd.errors import LedgerError, MaxmemError
from maxmemd.histogram import SIZES, Histogram

LOG = logging.getLogger("maxmemd.arbiter")

NOTES_WITHIN_S = 0.1
"""An idle arbiter writes what it noted (refusals, how pushes went) after this time."""

IDLE_S = 1.0
"""An idle arbiter comes round at least this often, which shows that it lives."""

AGAIN_S = 1.0
"""Until Xen and the ledger were compared once it is tried this often, however rare polls are."""


class ThreadOwner(Protocol):
    """Hears of what the thread does. Every method is called in that thread."""

    def on_started(self, error: Exception | None) -> None:
        """There is an arbiter, or `error` is why there cannot be one."""
        ...

    def on_first_sync(self) -> None:
        """Xen and the ledger were compared for the first time, and what differed is healed.

        Limits are in force from now on.
        """
        ...

    def on_answered(self, answers: Sequence[Answer | MaxmemError]) -> None:
        """Take the answers to the batch that was submitted."""
        ...

    def on_committed(self) -> None:
        """Something was committed since the last time."""
        ...

    def on_ended(self) -> None:
        """Nothing follows: the thread has done all that it will do."""
        ...


class ArbiterThread:
    """Runs an Arbiter in a thread of its own. `alive` is called in it after every step.

    `status` is the only thing that other threads may read while it runs.
    """

    def __init__(
        self,
        make: Callable[[], Arbiter],
        owner: ThreadOwner,
        *,
        poll_s: float,
        alive: Callable[[], None],
        monotonic_s: Callable[[], float] = monotonic,
    ) -> None:
        self._make, self._owner, self._alive = make, owner, alive
        self._monotonic_s = monotonic_s
        self._batches: SimpleQueue[Sequence[Ask] | None] = SimpleQueue()
        self._steps: SimpleQueue[Callable[[Arbiter], None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="arbiter")
        self._is_poll_wanted = threading.Event()
        self._commits_told = 0
        self._is_synced = False
        self._trouble = STARTING.xen
        self._alive_s = 0.0
        self._sizes = Histogram(SIZES)
        self.poll_s = poll_s
        self.status: Status = STARTING

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, batch: Sequence[Ask]) -> None:
        """Let it decide a batch; the owner hears of the answers."""
        self._batches.put(batch)

    def end(self) -> None:
        """Let it end after what was submitted; the owner hears when it has."""
        self._batches.put(None)

    def join(self) -> None:
        """Wait for the thread, whose end its owner has heard of."""
        self._thread.join()

    def poll_soon(self) -> None:
        """Poll soon: domains may have come or gone. From any thread."""
        self._is_poll_wanted.set()
        self._batches.put([])

    def call_soon(self, step: Callable[[Arbiter], None]) -> None:
        """Do something between two batches. From any thread."""
        self._steps.put(step)
        self._batches.put([])

    @property
    def age_s(self) -> float:
        """How long ago the thread last came round; an idle one does with every poll."""
        status = self.status
        return 0.0 if status.figures is None else self._monotonic_s() - status.alive_s

    def _run(self) -> None:
        self._serve()
        self._owner.on_ended()

    def _serve(self) -> None:
        try:
            arbiter = self._make()
            self._publish(arbiter)
        except Exception as error:
            if not isinstance(error, MaxmemError):
                LOG.exception("the arbiter cannot be made")
            self._owner.on_started(error)
            return
        try:
            self._attempt(arbiter, arbiter.start)
            self._owner.on_started(None)
            self._tell_of_commits(arbiter)
            self._loop(arbiter)
        except Exception:
            LOG.critical(
                "the arbiter's thread failed, and this process ends with it", exc_info=True
            )
            os._exit(1)  # else every request would be answered arbiter-busy for ever
        self._attempt(arbiter, arbiter.stop)

    def _loop(self, arbiter: Arbiter) -> None:
        """Poll, decide, and write notes, until told to end."""
        # One round: first show that we live, then what was put between batches (a reload must
        # count for the poll that follows), then a poll that is due, and only then wait for a
        # batch. So a flood of batches delays a poll by one batch and no more. Notes are written
        # when the queue is empty: under load the next batch's commit takes them along. A batch
        # waits for one stride of pruning at most.
        due_s = self._due_s(arbiter)
        while True:
            self._publish(arbiter)
            self._alive()
            now_s = arbiter.clock.monotonic_s()
            while not self._steps.empty():
                self._steps.get()(arbiter)
            if now_s >= due_s or self._is_poll_wanted.is_set():
                self._is_poll_wanted.clear()  # before the poll: what comes during it is another's
                self._attempt(arbiter, arbiter.poll)
                self._tell_of_commits(arbiter)
                due_s = self._due_s(arbiter)
            arbiter.pruning.step()
            idle_s = min(
                min(due_s, arbiter.pruning.due_s) - now_s,
                NOTES_WITHIN_S if arbiter.has_notes else IDLE_S,
            )
            try:
                batch = self._batches.get(timeout=max(0.0, idle_s))
            except Empty:
                self._flush(arbiter)
                continue
            if batch is None:
                return
            if batch:
                self._turn(arbiter, batch)
                self._tell_of_commits(arbiter)

    def _publish(self, arbiter: Arbiter) -> None:
        """Let other threads see how things are, and that the thread has come round."""
        self._alive_s = self._monotonic_s()
        self._show(arbiter)

    def _show(self, arbiter: Arbiter) -> None:
        self.status = Status(self._trouble, self._alive_s, self._sizes.snapshot(), arbiter.figures)

    def _due_s(self, arbiter: Arbiter) -> float:
        """Return when the next poll is due."""
        wait_s = self.poll_s if self._is_synced else min(self.poll_s, AGAIN_S)
        return arbiter.clock.monotonic_s() + wait_s

    def _flush(self, arbiter: Arbiter) -> None:
        """Write the notes while no request comes; a ledger in trouble shows in the status."""
        with suppress(LedgerError):
            arbiter.flush()
        self._tell_of_commits(arbiter)

    def _tell_of_commits(self, arbiter: Arbiter) -> None:
        commits = arbiter.figures.commits
        if commits != self._commits_told:
            self._commits_told = commits
            self._owner.on_committed()

    def _turn(self, arbiter: Arbiter, batch: Sequence[Ask]) -> None:
        try:
            answers = arbiter.turn(batch)
        except Exception:
            LOG.exception("a batch of %d failed", len(batch))
            broken = MaxmemError("cannot decide: it is a fault of maxmemd, which its log describes")
            answers = [broken for _ in batch]
        self._sizes.observe(len(batch))
        self._show(arbiter)  # before the answers: a client that has one finds it counted
        self._owner.on_answered(answers)

    def _attempt(self, arbiter: Arbiter, step: Callable[[], None]) -> None:
        """Compare Xen with the ledger; trouble is logged once, and the next poll tries again."""
        try:
            step()
        except MaxmemError as error:
            trouble = f"{error.code}: {error}"
        except Exception as error:
            LOG.exception("the comparison of Xen with the ledger failed")
            trouble = f"internal: {error!r}"
        else:
            trouble = "ok"
        if trouble != self._trouble:
            level = logging.INFO if trouble == "ok" else logging.ERROR
            LOG.log(level, "the watch over Xen: %s", trouble)
        self._trouble = trouble
        self._show(arbiter)
        if trouble == "ok" and not self._is_synced:  # after the status, which the owner may look at
            self._is_synced = True
            self._owner.on_first_sync()
