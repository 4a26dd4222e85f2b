"""`python -m tests.support.standing WORDS`: run the daemon; SIGUSR1 makes its event loop stand."""

import asyncio
import signal
import sys
import time

from maxmemd.__main__ import main
from maxmemd.api import loop_watch

STANDS_S = 0.5


class Breakable(loop_watch.LoopWatch):
    """A watch over a loop that a signal stops."""

    def start(self) -> None:
        """Watch the loop, and let it be stopped."""
        super().start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, stand_still)


def stand_still() -> None:
    """Come round no more."""
    time.sleep(600)


if __name__ == "__main__":
    loop_watch.STANDS_S = STANDS_S
    loop_watch.BEAT_S = STANDS_S / 10
    loop_watch.LoopWatch = Breakable  # type: ignore[misc]
    sys.exit(main())
