"""Whether the event loop comes round: told by health, the metrics, and systemd's watchdog.

The arbiter's thread feeds the watchdog. It could decide for ever while no client is answered, so it
feeds only while the event loop comes round as well.
"""

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from time import monotonic

LOG = logging.getLogger("maxmemd.api")
BEAT_S = 0.25
"""The loop shows this often that it comes round."""
STANDS_S = 5.0
"""After so long without, it stands still: the watchdog is not fed."""
WINDOW_S = 30.0
"""The longest standstill is kept for this time at least, and at most twice as long."""
FRAMES = 3
"""How many calls the log names of what the loop does."""


class LoopWatch:
    """When the event loop last came round. `start` and `stop` belong to its thread."""

    def __init__(self, clock_s: Callable[[], float] = monotonic) -> None:
        self._clock_s = clock_s
        self._last_s: float | None = None
        self._window_s = 0.0
        self._longest, self._longest_before = 0.0, 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._thread = 0
        self._was_told = False

    def start(self) -> None:
        """Watch the running loop from now on."""
        self._thread = threading.get_ident()
        self._last_s = self._window_s = self._clock_s()
        self._beat()

    def stop(self) -> None:
        """Watch no more: a loop that has ended does not stand still."""
        self._last_s = None
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        self.on_round()
        self._timer = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def on_round(self) -> None:
        """Note that the loop has come round."""
        now_s, age_s = self._clock_s(), self.age_s
        if now_s - self._window_s >= WINDOW_S:
            self._longest_before, self._longest, self._window_s = self._longest, 0.0, now_s
        self._longest = max(self._longest, age_s)
        self._last_s = now_s

    @property
    def age_s(self) -> float:
        """How long ago the loop came round; 0 while none is watched."""
        last_s = self._last_s
        return 0.0 if last_s is None else self._clock_s() - last_s

    @property
    def longest_s(self) -> float:
        """The longest that it did not come round lately, which is what it can tell itself."""
        return max(self._longest, self._longest_before, self.age_s)

    @property
    def state(self) -> str:
        """Say "ok", or for how long it stood still lately."""
        longest_s = self.longest_s
        return "ok" if longest_s < STANDS_S else f"stood still for {longest_s:.0f} s lately"

    def is_well(self) -> bool:
        """Whether the loop comes round; logs once when it does not. From another thread."""
        age_s = self.age_s
        if age_s < STANDS_S:
            if self._was_told:
                LOG.warning("the event loop comes round again")
            self._was_told = False
            return True
        if not self._was_told:
            self._was_told = True
            LOG.critical(
                "the event loop stands still since %.0f s: no request is answered, and systemd's"
                " watchdog is not fed, so that it restarts maxmemd; the loop is in %s",
                age_s, self._place(),
            )  # fmt: skip
        return False

    def _place(self) -> str:
        """Return what the loop's thread does now, innermost call last."""
        frame = sys._current_frames().get(self._thread)  # noqa: SLF001 - its documented name
        calls = traceback.extract_stack(frame)[-FRAMES:] if frame is not None else []
        return " > ".join(f"{call.name} ({call.filename}:{call.lineno})" for call in calls)
