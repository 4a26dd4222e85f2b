"""Calls that may block for ever: bounded in time and number, and away from the event loop."""

import asyncio
import subprocess
import sys
import threading

import pytest

from maxmemd.api.aside import Aside

LONG_S = 60.0


def test_what_it_returns_and_raises() -> None:
    """The caller has either."""

    async def both() -> int:
        aside = Aside(1, LONG_S)
        with pytest.raises(KeyError):
            await aside.call(lambda: {}["x"])
        return await aside.call(lambda: 7)

    assert asyncio.run(both()) == 7


def test_a_call_that_hangs() -> None:
    """The caller goes on; as many as hang are made, and others once they have returned."""
    goes_on = threading.Event()
    ended = threading.Semaphore(0)

    def hang() -> None:
        goes_on.wait()
        ended.release()

    async def three() -> str:
        aside = Aside(2, 0.01)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await aside.call(hang)
        aside._within_s = LONG_S
        with pytest.raises(TimeoutError):
            await aside.call(lambda: "never called")
        goes_on.set()
        for _ in range(2):
            await asyncio.to_thread(ended.acquire)
        while True:
            try:
                return await aside.call(lambda: "called")
            except TimeoutError:  # the thread is about to end
                await asyncio.sleep(0)

    assert asyncio.run(three()) == "called"


def test_the_end_of_the_process_does_not_wait_for_one() -> None:
    """Nor does the end of the loop."""
    source = (
        "import asyncio, threading\n"
        "from maxmemd.api.aside import Aside\n"
        "async def main():\n"
        "    try:\n"
        "        await Aside(1, 0.01).call(threading.Event().wait)\n"
        "    except TimeoutError:\n"
        "        print('late')\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=LONG_S
    )
    assert (done.stdout, done.stderr) == ("late\n", "")
