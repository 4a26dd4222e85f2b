"""What makes an input do the same each time: a loop without time, and nothing in another thread."""

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from maxmemd.api.auth.peer_process import SO_PEERPIDFD
from maxmemd.api.reading.pool import ReadPool, ReadPools
from maxmemd.api.reading.strides import Reading, Strides
from maxmemd.arbiter.messages import DecisionRequest, Query
from maxmemd.arbiter.thread import ArbiterThread
from maxmemd.pacing import Deadline

T = TypeVar("T")
MOST_PASSES = 100_000
"""An input after which the loop runs on for so long never comes to rest."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when a test advances it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.set_default_executor(_Here())

    def time(self) -> float:
        """Return the time that it was told."""
        return self.now_s

    def step(self, first: Callable[[], object], *, after_s: float = 0.0) -> None:
        """Call something in the loop, and let it run until there is nothing left to do."""
        self.now_s += after_s
        self.call_soon(first)
        for _ in range(MOST_PASSES):
            self.call_soon(self.stop)
            self.run_forever()
            if not self._ready:  # type: ignore[attr-defined]
                return
        raise AssertionError("it never comes to rest")


class _Here(ThreadPoolExecutor):
    """Threads that are none."""

    def submit(self, call: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        """Call at once."""
        done: Future[Any] = Future()
        try:
            done.set_result(call(*given, **named))
        except Exception as error:  # noqa: BLE001 - the waiter of the future gets it
            done.set_exception(error)
        return done


class PromptPools(ReadPools):
    """Pools without threads."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = _PromptPool("shared", Strides())

    def of(self, role: str) -> ReadPool:
        """Return the one that reads at once."""
        return self.shared


class _PromptPool(ReadPool):
    async def run(self, client: str, work: Callable[[Reading], T]) -> T:
        """Read at once."""
        return work(Reading(Deadline(60.0), Strides(sleep=lambda _: None)))


class Prompt(ArbiterThread):
    """The arbiter's thread without the thread."""

    def start(self) -> None:
        """Make the arbiter."""
        self.arbiter = self._make()
        self._publish(self.arbiter)
        self._attempt(self.arbiter, self.arbiter.start)
        self._owner.on_started(None)

    def submit(self, batch: Sequence[DecisionRequest | Query]) -> None:
        """Decide a batch."""
        self._turn(self.arbiter, batch)
        self._tell_of_commits(self.arbiter)

    def stop(self) -> None:
        """Do nothing: there is no thread."""


class Transport(asyncio.Transport):
    """A Unix socket's transport whose peer is of one uid, and takes all that is sent."""

    def __init__(self, uid: int) -> None:
        super().__init__({"socket": _Socket(uid)})
        self.sent = bytearray()
        self.reading = True
        self.aborted = self._closing = False

    def write(self, data: Any) -> None:
        """Keep what is sent, up to the end."""
        if not self._closing:
            self.sent += data

    def is_closing(self) -> bool:
        """Whether no more is read."""
        return self._closing

    def close(self) -> None:
        """Read no more."""
        self._closing = True

    def abort(self) -> None:
        """Read no more; what was not taken yet is lost."""
        self._closing = self.aborted = True

    def pause_reading(self) -> None:
        """Take nothing for now."""
        self.reading = False

    def resume_reading(self) -> None:
        """Take what comes."""
        self.reading = True

    def get_write_buffer_size(self) -> int:
        """Return 0: all is taken at once."""
        return 0


class _Socket:
    """What the kernel says of a Unix socket's peer."""

    def __init__(self, uid: int) -> None:
        self._uid = uid

    def getsockopt(self, _level: int, name: int, _size: int = 0) -> int | bytes:
        if name == socket.SO_DOMAIN:
            return int(socket.AF_UNIX)
        if name == SO_PEERPIDFD:
            return os.pidfd_open(os.getpid())
        return struct.pack("iII", 4711, self._uid, self._uid) if name == socket.SO_PEERCRED else b""

    def getsockname(self) -> str:
        return "/run/maxmemd/maxmemd.sock"

    def getpeername(self) -> str:
        return ""
