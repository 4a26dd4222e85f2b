"""Either process is killed under load, alone: nothing confirmed is lost, and Xen agrees again."""

import os
import random
import signal
import time
from itertools import count
from pathlib import Path

import pytest

from tests.support.figures import figure
from tests.support.http import Answer
from tests.support.soak import SOAK
from tests.support.stand import Stand
from tests.support.until import until
from tests.system.durability.test_kill import AGREED_WITHIN_S, GUESTS, Load, Seen, compare, once

KILLS = 100 if SOAK else 6
AGAIN_WITHIN_S = 10.0
"""One push may have failed for want of a pusher: it is tried again after 1, 2, 4 ... seconds."""


def pusher_of(stand: Stand) -> int:
    """Return the pid of the daemon's pusher, once it runs."""
    daemon = stand.running.pid
    path = Path(f"/proc/{daemon}/task/{daemon}/children")
    found: list[str] = []

    def is_there() -> bool:
        found[:] = [
            pid
            for task in path.parent.parent.iterdir()
            for pid in (task / "children").read_text().split()
        ]
        return bool(found)

    until("there is a pusher", is_there)
    return int(found[0])


@pytest.mark.soak
def test_the_pusher_is_killed() -> None:
    """A client never sees an error for it; what could not be pushed is pushed soon after."""
    dice, numbers = random.Random(5), count()
    confirmed: dict[str, Answer] = {}
    with Stand(GUESTS, options=["--separate"]) as stand:
        stand.start()
        for _ in range(KILLS):
            load = Load(stand, dice, numbers)
            load.begin()
            time.sleep(dice.uniform(0.05, 0.5))  # the instant of the kill is this test's input
            os.kill(pusher_of(stand), signal.SIGKILL)
            time.sleep(dice.uniform(0.05, 1.0))
            load.end()
            assert not load.unsure, "a connection was cut"
            assert load.refused <= {"limit-below-target", "target-above-static-max"}
            confirmed.update(load.confirmed)
        until("Xen agrees", stand.agrees, within_s=AGAIN_WITHIN_S)
        assert stand.stop() == 0
        compare(confirmed, stand.kept())
    assert len(confirmed) > 5 * KILLS
    figure("pusher killed", "kills under load", KILLS)
    figure("pusher killed", "confirmed decisions, lost", f"{len(confirmed)}, 0")


@pytest.mark.soak
def test_the_daemon_is_killed_beside_its_pusher() -> None:
    """As with one process: confirmed is kept, and Xen agrees within a second of being ready."""
    dice, numbers, seen = random.Random(6), count(), Seen()
    with Stand(GUESTS, options=["--separate"]) as stand:
        stand.start()
        for _ in range(KILLS):
            once(stand, Load(stand, dice, numbers), dice, seen)
    worst = max(seen.agreed_s)
    assert worst <= AGREED_WITHIN_S
    figure("daemon killed", "beside its pusher: confirmed, lost", f"{seen.confirmed}, 0")
    figure("daemon killed", "ready until Xen agrees, worst", f"{worst:.3f} s")
