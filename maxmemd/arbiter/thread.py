"""The arbiter's thread: it takes batches, polls Xen in between, and says how it gets on."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Protocol

from maxmemd.arbiter.actor import Arbiter
from maxmemd.arbiter.messages import Answer, DecisionRequest, Query
from maxmemd.errors import LedgerError, MaxmemError
from maxmemd.histogram import SIZES, Histogram

LOG = logging.getLogger("maxmemd.arbiter")

NOTES_WITHIN_S = 0.1
"""An idle arbiter writes what it noted (refusals, how pushes went) after this time."""

IDLE_S = 1.0
"""An idle arbiter says so often that it lives."""

AGAIN_S = 1.0
"""Until Xen and the ledger were compared once, it is tried so often, however rare polls are."""


class ThreadOwner(Protocol):
    """Who is told what the thread does. Every method is called in that thread."""

    def started(self, error: Exception | None) -> None:
        """Know that the arbiter is there, or why it cannot be."""
        ...

    def agreed(self) -> None:
        """Know that Xen and the ledger were compared for the first time, and what differed, healed.

        Limits are in force from now on.
        """
        ...

    def answered(self, answers: Sequence[Answer | MaxmemError]) -> None:
        """Take the answers to the batch that was handed over."""
        ...

    def committed(self) -> None:
        """Know that something was committed since the last time."""
        ...


class ArbiterThread:
    """Runs an Arbiter in a thread of its own. `alive` is called in it after every step."""

    def __init__(
        self,
        make: Callable[[], Arbiter],
        owner: ThreadOwner,
        *,
        poll_s: float,
        alive: Callable[[], None],
    ) -> None:
        self._make, self._owner, self._alive = make, owner, alive
        self._batches: SimpleQueue[Sequence[DecisionRequest | Query] | None] = SimpleQueue()
        self._steps: SimpleQueue[Callable[[Arbiter], None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="arbiter")
        self._kicked = threading.Event()
        self._told = 0
        self.poll_s = poll_s
        self.arbiter: Arbiter | None = None
        self.trouble: str = "starting"
        self.has_agreed = False
        self.alive_s = 0.0
        self.sizes = Histogram(SIZES)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def hand(self, batch: Sequence[DecisionRequest | Query]) -> None:
        """Let it decide a batch; the owner hears of the answers."""
        self._batches.put(batch)

    def stop(self) -> None:
        """Let it end after what it has been handed, and wait until it has."""
        self._batches.put(None)
        self._thread.join()

    def kick(self) -> None:
        """Poll soon: domains may have come or gone. From any thread."""
        self._kicked.set()
        self._batches.put([])

    def between(self, step: Callable[[Arbiter], None]) -> None:
        """Do something between two batches. From any thread."""
        self._steps.put(step)
        self._batches.put([])

    @property
    def age_s(self) -> float:
        """Since when the thread has not come round; an idle one does with every poll."""
        arbiter = self.arbiter
        return 0.0 if arbiter is None else arbiter.clock.monotonic_s() - self.alive_s

    def _run(self) -> None:
        try:
            arbiter = self._make()
            self.alive_s = arbiter.clock.monotonic_s()
            self.arbiter = arbiter
        except Exception as error:
            if not isinstance(error, MaxmemError):
                LOG.exception("the arbiter cannot be made")
            self._owner.started(error)
            return
        try:
            self._attempt(arbiter.start)
            self._owner.started(None)
            self._tell(arbiter)
            self._watch(arbiter)
        except Exception:
            LOG.critical(
                "the arbiter's thread failed, and this process ends with it", exc_info=True
            )
            os._exit(1)  # else all who ask would hear for ever that the arbiter is busy
        self._attempt(arbiter.stop)

    def _watch(self, arbiter: Arbiter) -> None:
        """Poll, decide, and write notes, until told to end."""
        due_s = self._due_s(arbiter)
        while True:
            self.alive_s = now_s = arbiter.clock.monotonic_s()
            self._alive()
            while not self._steps.empty():
                self._steps.get()(arbiter)
            if now_s >= due_s or self._kicked.is_set():
                self._kicked.clear()
                self._attempt(arbiter.poll)
                self._tell(arbiter)
                due_s = self._due_s(arbiter)
            idle_s = min(due_s - now_s, NOTES_WITHIN_S if arbiter.has_notes else IDLE_S)
            try:
                batch = self._batches.get(timeout=max(0.0, idle_s))
            except Empty:
                self._flush(arbiter)
                continue
            if batch is None:
                return
            if batch:
                self._turn(arbiter, batch)
                self._tell(arbiter)

    def _due_s(self, arbiter: Arbiter) -> float:
        """Return when the next poll is due."""
        wait_s = self.poll_s if self.has_agreed else min(self.poll_s, AGAIN_S)
        return arbiter.clock.monotonic_s() + wait_s

    def _flush(self, arbiter: Arbiter) -> None:
        """Write the notes while nobody asks; a ledger in trouble says so itself (health)."""
        with suppress(LedgerError):
            arbiter.flush()
        self._tell(arbiter)

    def _tell(self, arbiter: Arbiter) -> None:
        if arbiter.records.commits != self._told:
            self._told = arbiter.records.commits
            self._owner.committed()

    def _turn(self, arbiter: Arbiter, batch: Sequence[DecisionRequest | Query]) -> None:
        try:
            answers = arbiter.turn(batch)
        except Exception:
            LOG.exception("a batch of %d failed", len(batch))
            broken = MaxmemError("cannot decide: it is a fault of maxmemd, which its log describes")
            answers = [broken for _ in batch]
        self.sizes.observe(len(batch))
        self._owner.answered(answers)

    def _attempt(self, step: Callable[[], None]) -> None:
        """Do one step of the watch over Xen; trouble is said once, and the next poll retries."""
        try:
            step()
        except MaxmemError as error:
            trouble = f"{error.code}: {error}"
        except Exception as error:
            LOG.exception("the comparison of Xen with the ledger failed")
            trouble = f"internal: {error!r}"
        else:
            trouble = "ok"
            if not self.has_agreed:
                self.has_agreed = True
                self._owner.agreed()
        if trouble != self.trouble:
            level = logging.INFO if trouble == "ok" else logging.ERROR
            LOG.log(level, "the watch over Xen: %s", trouble)
        self.trouble = trouble
