"""Threads for dear reads: a pool for each class of reader, in which clients take turns.

So admins, toolstacks and device models never wait for what observers read, and no client waits for
more than one read of each other client of its class. What a client has in hand is bounded.
"""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from maxmemd.api.problems import Rejected
from maxmemd.api.reading.strides import Reading, Strides, too_long
from maxmemd.errors import ArbiterBusy
from maxmemd.pacing import Deadline

READ_WITHIN_S = 5.0
"""A dear read has to be answered within this time, its wait for a thread included."""
THREADS = 2
"""Threads of one pool; they are started when they are needed."""
MOST_EACH, MOST_WAITING = 8, 128
"""Dear reads of one client that run or wait, and those that wait for one pool."""

T = TypeVar("T")


class _Job:
    """One read that waits for a thread or has one."""

    __slots__ = ("client", "deadline", "done", "work")

    def __init__(
        self, client: str, work: Callable[[Reading], Any], done: asyncio.Future[Any]
    ) -> None:
        self.client, self.work, self.done = client, work, done
        self.deadline = Deadline(READ_WITHIN_S)


class ReadPool:
    """The threads of one class of reader. Belongs to the event loop's thread."""

    def __init__(self, name: str, strides: Strides, threads: int = THREADS) -> None:
        self._name, self._strides, self._most = name, strides, threads
        self._waiting: dict[str, deque[_Job]] = {}
        self._running: set[_Job] = set()
        self._threads, self._is_closed = 0, False
        self._handed: SimpleQueue[tuple[_Job, asyncio.AbstractEventLoop] | None] = SimpleQueue()

    async def run(self, client: str, work: Callable[[Reading], T]) -> T:
        """Return what a read returns, made in a thread.

        Raises Rejected for one too many, ReadTooLong for one that was not done in time, and what
        the read raises. When the caller is cancelled the read ends.
        """
        if self._is_closed:
            raise _stops()
        self._check_room(client)
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        job = _Job(client, work, done)
        self._waiting.setdefault(client, deque()).append(job)
        self._hand_over()
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                return await done
        except TimeoutError:
            raise too_long() from None
        finally:
            job.deadline.end()
            self._forget(job)

    def close(self) -> None:
        """End all reads, and the threads as soon as they come to know."""
        self._is_closed = True
        for job in (*self._running, *(job for jobs in self._waiting.values() for job in jobs)):
            job.deadline.end()
            if not job.done.done():
                job.done.set_exception(_stops())
        self._waiting.clear()
        for _ in range(self._threads):
            self._handed.put(None)

    def _check_room(self, client: str) -> None:
        held = Counter(job.client for job in self._running)[client]
        held += len(self._waiting.get(client, ()))
        waiting = sum(len(jobs) for jobs in self._waiting.values())
        if held >= MOST_EACH or waiting >= MOST_WAITING:
            detail = f"cannot begin another dear read: {client} has {held} of {MOST_EACH} in hand,"
            detail = f"{detail} and {waiting} of {MOST_WAITING} wait for all {self._name}s"
            raise Rejected("too-many-reads", detail, client=client, retry_after_s=1)

    def _hand_over(self) -> None:
        """Give the free threads what waits; the client that was served goes behind the others."""
        loop = asyncio.get_running_loop()
        while self._waiting and len(self._running) < self._most:
            client, jobs = next(iter(self._waiting.items()))
            job = jobs.popleft()
            del self._waiting[client]
            if jobs:
                self._waiting[client] = jobs
            self._running.add(job)
            if self._threads < len(self._running):
                self._threads += 1
                name = f"read-{self._name}-{self._threads}"
                # a thread that hangs on the disk must not keep the process from ending
                threading.Thread(target=self._work, name=name, daemon=True).start()
            self._handed.put((job, loop))

    def _forget(self, job: _Job) -> None:
        """Let a read that still waits go."""
        jobs = self._waiting.get(job.client)
        if jobs is not None and job in jobs:
            jobs.remove(job)
            if not jobs:
                del self._waiting[job.client]

    def _on_done(self, job: _Job, found: Any, error: BaseException | None) -> None:
        self._running.discard(job)
        if not job.done.done():
            if error is None:
                job.done.set_result(found)
            else:
                job.done.set_exception(error)
        self._hand_over()

    def _work(self) -> None:
        """Do reads until there are no more to come. Runs in a thread of the pool."""
        while (handed := self._handed.get()) is not None:
            job, loop = handed
            found, error = None, None
            try:
                with self._strides:
                    found = _result_of(job, self._strides)
            except BaseException as raised:  # noqa: BLE001 - it is the asker's
                error = raised
            try:
                loop.call_soon_threadsafe(self._on_done, job, found, error)
            except RuntimeError:  # the loop is closed: there is no asker any more
                return
            del job, found, error, handed  # an idle thread keeps no answer


def _stops() -> ArbiterBusy:
    return ArbiterBusy("cannot finish this read: maxmemd stops (ask again when it has started)")


def _result_of(job: _Job, strides: Strides) -> Any:
    reading = Reading(job.deadline, strides)
    reading.check()
    try:
        return job.work(reading)
    except Exception:
        reading.check()  # what is interrupted fails in many ways
        raise


class ReadPools:
    """One pool for each role, and one for the answers that all roles share."""

    def __init__(self) -> None:
        self._strides = Strides()
        self._pools: dict[str, ReadPool] = {}
        self.shared = ReadPool("shared answer", Strides())

    def of(self, role: str) -> ReadPool:
        """Return the pool of a role."""
        if role not in self._pools:
            self._pools[role] = ReadPool(role, self._strides)
        return self._pools[role]

    def close(self) -> None:
        """End all reads."""
        for pool in (self.shared, *self._pools.values()):
            pool.close()
