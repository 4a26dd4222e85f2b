"""Calls that may block for ever, like a look-up of a name: away from the event loop, and bounded.

Not in the loop's pool of threads: a few calls that hang would occupy it, and the end of the process
would wait for them.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Aside:
    """Makes calls in threads of their own: at most `most` at a time, each waited for `within_s`."""

    def __init__(self, most: int, within_s: float) -> None:
        self._free, self._within_s = threading.Semaphore(most), within_s

    async def call(self, function: Callable[[], T]) -> T:
        """Return what a function returns, or raise what it raises.

        Raises TimeoutError where it takes too long, and at once where `most` calls have not
        returned. One that took too long goes on, and its thread ends with it.
        """
        if not self._free.acquire(blocking=False):
            raise TimeoutError
        called: Future[T] = Future()

        def run() -> None:
            try:
                result = function()
            except Exception as error:  # noqa: BLE001 - the caller's
                self._free.release()
                called.set_exception(error)
            else:
                self._free.release()
                called.set_result(result)

        called.set_running_or_notify_cancel()  # it cannot be cancelled, only left alone
        threading.Thread(target=run, daemon=True, name="aside").start()
        async with asyncio.timeout(self._within_s):
            return await asyncio.wrap_future(called)
