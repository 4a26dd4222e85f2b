"""The event loop is watched as the arbiter is: health, metrics and systemd know that it stands."""

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path

import pytest

from maxmemd.api.loop_watch import BEAT_S, STANDS_S, WINDOW_S, LoopWatch
from maxmemd.systemd import Watchdog
from tests.support.fakes import FakeClock
from tests.support.inside import Inside
from tests.support.outside import Outside
from tests.support.until import until, until_so


def test_a_loop_that_comes_round_is_well() -> None:
    """Its age is small again and again, though it has nothing else to do."""

    async def play() -> None:
        watch = LoopWatch()
        assert (watch.age_s, watch.state, watch.is_well()) == (0.0, "ok", True)
        watch.start()
        rounds = 0
        real = watch.on_round

        def count() -> None:
            nonlocal rounds
            rounds += 1
            real()

        watch.on_round = count  # type: ignore[method-assign]
        await until_so(lambda: rounds >= 3)
        assert watch.state == "ok"
        watch.stop()
        assert watch.age_s == 0.0
        LoopWatch().stop()

    asyncio.run(play())
    assert BEAT_S < STANDS_S / 4


def test_a_loop_that_stands_still_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """With the place where it is; and once that it comes round again."""
    clock = FakeClock()
    watch = LoopWatch(clock.monotonic_s)

    async def play() -> None:
        watch.start()
        clock.forward(STANDS_S - 0.1)
        assert watch.is_well()
        clock.forward(0.1)
        assert not watch.is_well()
        assert not watch.is_well()
        assert watch.state == "stood still for 5 s lately"
        watch.on_round()
        assert watch.is_well()
        assert watch.is_well()
        watch.stop()

    with caplog.at_level(logging.WARNING):
        asyncio.run(play())
    [stands, again] = [record.getMessage() for record in caplog.records]
    assert stands.startswith("the event loop stands still since 5 s: no request is answered")
    assert "is_well (" in stands
    assert again == "the event loop comes round again"


def test_a_standstill_is_remembered_for_a_while() -> None:
    """The loop itself can only tell of it afterwards; then it is forgotten."""
    clock = FakeClock()
    watch = LoopWatch(clock.monotonic_s)

    async def play() -> None:
        watch.start()
        clock.forward(7.0)
        watch.on_round()
        assert (watch.age_s, watch.longest_s) == (0.0, 7.0)
        rounds = 0
        while watch.longest_s == 7.0:
            clock.forward(1.0)
            watch.on_round()
            rounds += 1
        assert WINDOW_S <= rounds <= 2 * WINDOW_S
        assert watch.longest_s == 1.0
        watch.stop()

    asyncio.run(play())


def test_health_and_metrics_tell_it(tmp_path: Path) -> None:
    """A loop that stood still is not ready; its longest standstill is a metric."""
    clock = FakeClock()
    with Inside(tmp_path) as api:
        watch = api.service.loop_watch = LoopWatch(clock.monotonic_s)
        assert api.get("/v1/health")["parts"]["loop"] == "ok"
        watch._last_s = watch._window_s = clock.now_s
        clock.forward(6.0)
        watch.on_round()
        reply = api.ask("GET", "/v1/health")
        assert reply.status_code == 503
        assert reply.json()["parts"]["loop"] == "stood still for 6 s lately"
        assert "maxmemd_loop_age_seconds 6.0" in api.ask("GET", "/metrics").text


def test_the_watchdog_is_not_fed_while_something_is_not_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keep-alives end, and begin again."""
    well = True
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "1")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        watchdog = Watchdog(lambda: well)
        watchdog.feed()
        assert told.recv(99) == b"WATCHDOG=1"
        well = False
        watchdog.feed()
        with pytest.raises(BlockingIOError):
            told.recv(99)
        well = True
        watchdog.feed()
        assert told.recv(99) == b"WATCHDOG=1"


def test_a_daemon_whose_loop_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arbiter lives on, and yet systemd hears nothing more; the log says what it was."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(60.0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        with Outside(tmp_path, "tests.support.standing") as daemon:
            while told.recv(999) != b"WATCHDOG=1":
                pass
            os.kill(daemon.running.pid, signal.SIGUSR1)
            until("it is logged", lambda: "the event loop stands still" in daemon.said())
            assert "stand_still (" in daemon.said()
            told.setblocking(False)
            while is_told(told):
                pass
            told.settimeout(3.0)  # ten times as long as a keep-alive would take
            assert not is_told(told)
            daemon.kill()


def is_told(told: socket.socket) -> bool:
    """Whether something comes."""
    try:
        return bool(told.recv(999))
    except (BlockingIOError, TimeoutError):
        return False
