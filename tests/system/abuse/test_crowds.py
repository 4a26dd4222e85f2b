"""Thousands of connections at once, of one uid and of many: bounded, told, and beside the point.

What is measured is a good client's p99 while they come, and the daemon's memory.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from maxmemd.api.server import protocol
from maxmemd.config.settings import CONNECTIONS
from tests.support.figures import figure
from tests.support.outside import Outside, open_folder
from tests.support.process import ROOT
from tests.support.siege import Peak, p99_ms, times_of
from tests.support.soak import SOAK

MOST = protocol.MOST_CONNECTIONS if SOAK else 448
"""How many connections the daemon holds: in a short run fewer, so that they are reached at once."""
COUNT = 5000 if SOAK else 1000
QUIET_S = 3.0 if SOAK else 1.0
ROUNDS = 5 if SOAK else 1
HOLD_S = 2.0
FIRST_UID = 41_000
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its uid")


def daemon_of(folder: Path) -> Outside:
    """Return a daemon that holds MOST connections."""
    if SOAK:
        return Outside(folder)
    options = (str(MOST), "serve", "--hypervisor", "simulated")
    return Outside(folder, "tests.system.abuse.lowered", options)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """Give such a daemon, to its own user."""
    with daemon_of(tmp_path_factory.mktemp("daemon")) as outside:
        yield outside


@pytest.fixture(scope="module")
def open_to_all() -> Iterator[Outside]:
    """Give a daemon whose socket every user may connect to."""
    with open_folder() as folder, daemon_of(folder) as outside:
        outside.socket.chmod(0o666)
        yield outside
        assert "Traceback" not in outside.said()


def crowd(daemon: Outside, uids: list[int], count: int) -> dict[str, dict[str, int]]:
    """Return what became of so many connections in all, by uid."""
    each = [f"{uid}:{count // len(uids)}" for uid in uids]
    command = [
        sys.executable,
        "-m",
        "tests.system.abuse.crowd",
        str(daemon.socket),
        str(HOLD_S),
        *each,
    ]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, dict[str, int]] = json.loads(done.stdout)
    return found


def beside(daemon: Outside, what: str, uids: list[int], count: int) -> dict[str, dict[str, int]]:
    """Return what became of a crowd, and measure what it does to a good client and to memory."""
    peak, calm, during = Peak(daemon), 0.0, 0.0
    became: dict[str, dict[str, int]] = {}

    def attack() -> None:
        became.update(crowd(daemon, uids, count))
        peak()

    for _ in range(ROUNDS):
        calm += p99_ms(times_of(daemon, lambda: time.sleep(QUIET_S))) / ROUNDS
        during += p99_ms(times_of(daemon, attack)) / ROUNDS
    ratio = during / calm
    figure("crowds", f"p99 beside {what}", f"{calm:.1f} -> {during:.1f} ms, {ratio:.2f} times")
    peak.check(what)
    assert ratio < 3.0 or not SOAK
    return became


def enough(count: int) -> int:
    """Return how many descriptors one process may have, up to those that are wanted."""
    return min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 64)


@pytest.mark.soak
def test_connections_of_the_daemons_own_user(bounded: Outside) -> None:
    """An admin has no bound of its own: beyond what the daemon holds in all, they are closed."""
    count = enough(COUNT)
    (became,) = beside(bounded, f"{count} connections of an admin", [os.geteuid()], count).values()
    assert became["told"] == 0
    assert became["served"] >= MOST - protocol.RESERVED
    assert became["closed"] > 0
    assert f"connection limit for admins reached ({MOST})" in bounded.said()
    assert sum(became.values()) == count


@needs_root
@pytest.mark.soak
def test_connections_of_one_other_user(open_to_all: Outside) -> None:
    """An observer has 64 connections; each one beyond is answered, none is closed silently."""
    what = f"{COUNT} connections of an observer"
    (became,) = beside(open_to_all, what, [FIRST_UID], COUNT).values()
    assert became["closed"] == 0
    assert became["served"] + became["told"] == COUNT
    assert CONNECTIONS["observer"] <= became["served"] < COUNT // 4


@needs_root
@pytest.mark.soak
def test_connections_of_many_users(open_to_all: Outside) -> None:
    """Many users together fill their part of the daemon; root still connects, and is served."""
    uids = [FIRST_UID + number for number in range(40)]
    served = 0

    def asks() -> None:
        nonlocal served
        assert open_to_all.ask("GET", "/v1/host")[0] == 200
        served += 1

    became = beside(open_to_all, f"{COUNT} connections of 40 users", uids, COUNT)
    for one in became.values():
        assert one["served"] <= 2 * CONNECTIONS["observer"]
        assert one["served"] + one["told"] + one["closed"] == COUNT // 40
    each = [f"{uid}:{CONNECTIONS['observer']}" for uid in uids]
    command = [
        sys.executable,
        "-m",
        "tests.system.abuse.crowd",
        str(open_to_all.socket),
        "3",
        *each,
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as filling:
        while filling.poll() is None:
            asks()
            time.sleep(0.05)
        told = json.loads(filling.stdout.read()) if filling.stdout else {}
    assert served >= 3
    closed = sum(one["closed"] for one in told.values())
    figure("crowds", "closed beyond what 40 users together may have", closed)
    assert closed > 0, "they did not fill it"
