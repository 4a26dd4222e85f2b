"""The daemon's side: a pusher that is killed, hangs, or starts slowly."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from errno import ETIMEDOUT
from pathlib import Path

import pytest

from maxmemd.errors import HypervisorError, XenstoreError
from maxmemd.pusher import client
from maxmemd.pusher.client import PusherClient
from maxmemd.pusher.connect import ChildConnector, SocketConnector
from tests.pusher.orders import FLOOR, MIB, SERVE, WITHIN_S, max_pages, order
from tests.support.simhost import SimHost
from tests.support.until import until


def test_a_killed_pusher_is_started_anew(
    sim: SimHost, child: ChildConnector, pusher: PusherClient
) -> None:
    """Kill -9, and the next call, and the watch, find a new one."""
    told = threading.Semaphore(0)
    pusher.watch(told.release)
    assert told.acquire(timeout=WITHIN_S)
    for limit in (MIB(300), MIB(200)):
        assert child.process is not None
        child.process.send_signal(signal.SIGKILL)
        child.process.wait()
        (outcome,) = pusher.push([order(sim, limit)])
        assert outcome.error is None, outcome
        assert max_pages(sim) == limit.pages
        assert told.acquire(timeout=WITHIN_S)
    time.sleep(1)
    while told.acquire(blocking=False):
        continue
    sim.call("create", "web", memory=MIB(1))
    assert told.acquire(timeout=WITHIN_S)


def test_a_pusher_that_hangs_is_given_up(sim: SimHost, child: ChildConnector) -> None:
    """A stopped one is not waited for any longer than the patience; then it goes on.

    Each wait that ends is told, so that several do not look like one who is stuck.
    """
    waits: list[float] = []
    pusher = PusherClient(
        child, patience_s=0.3, on_failed_attempt=lambda: waits.append(time.monotonic())
    )
    while True:  # it may take longer than that to start
        with suppress(HypervisorError):
            assert pusher.domain(1).domid == 1
            break
    assert child.process is not None
    child.process.send_signal(signal.SIGSTOP)
    waits.clear()
    with pytest.raises(HypervisorError) as hung:
        pusher.domain(1)
    assert hung.value.errno == ETIMEDOUT
    assert len(waits) == 1
    (outcome,) = pusher.push([order(sim, MIB(300))])
    assert (outcome.seen, outcome.gone, outcome.errno) == (None, False, ETIMEDOUT)
    (looked,) = pusher.look([1], stores=[1])
    assert isinstance(looked.xen, HypervisorError)
    with pytest.raises(XenstoreError):
        pusher.facts(1)
    assert len(waits) == 4
    child.process.send_signal(signal.SIGCONT)
    pusher.close()


def test_one_that_takes_long_to_start(sim: SimHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first question waits for it; those that follow have the usual patience again."""
    child = ChildConnector(FLOOR, SERVE, "--host", str(sim.path))
    pusher = PusherClient(child, patience_s=0.01)
    with pytest.raises(HypervisorError):
        pusher.host()
    monkeypatch.setattr(client, "START_WITHIN_S", WITHIN_S)
    assert pusher.wait_until_ready() == sim.call("xen.host")
    assert child.process is not None
    child.process.send_signal(signal.SIGSTOP)
    with pytest.raises(HypervisorError) as hung:
        pusher.host()
    assert hung.value.errno == ETIMEDOUT
    child.process.send_signal(signal.SIGCONT)
    pusher.close()


@pytest.fixture
def mute(tmp_path: Path) -> Iterator[tuple[PusherClient, Path]]:
    """Give a client of a pusher that never answers, with the patience of an hour."""
    path = tmp_path / "mute"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(8)
        ours = PusherClient(SocketConnector(path), patience_s=3600.0)
        yield ours, path
        ours.close()


@pytest.mark.parametrize("ask", ["push", "look", "domains"])
def test_what_waits_for_it_can_be_given_up(
    sim: SimHost, mute: tuple[PusherClient, Path], ask: str
) -> None:
    """From another thread: it has failed then, and so has all that is asked later."""
    ours, _ = mute
    asks: dict[str, Callable[[], object]] = {
        "push": lambda: ours.push([order(sim, MIB(300))])[0].error,
        "look": lambda: ours.look([1], stores=[])[0].xen,
        "domains": lambda: error_of(ours.domains),
    }
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(asks[ask])
        until("it waits", lambda: ours._connection is not None)
        ours.give_up()
        assert "cannot reach the pusher" in str(found.result(WITHIN_S))
    assert "cannot reach the pusher" in str(asks[ask]())


def test_a_pusher_without_room_is_waited_for_until_it_is_given_up(
    sim: SimHost, tmp_path: Path
) -> None:
    """A connection for which there is no room yet is tried again, and not after giving up."""
    path = tmp_path / "full"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        first = SocketConnector(path).connect()
        tried = threading.Semaphore(0)

        class Counted(SocketConnector):
            def connect(self) -> socket.socket:
                tried.release()
                return super().connect()

        ours = PusherClient(Counted(path), patience_s=3600.0)
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(lambda: error_of(ours.domains))
            for _ in range(2):
                assert tried.acquire(timeout=WITHIN_S)
            ours.give_up()
            assert "cannot reach the pusher" in found.result(WITHIN_S)
        first.close()
        ours.close()


def test_a_watch_ends_beside_a_pusher_that_never_answers(
    mute: tuple[PusherClient, Path],
) -> None:
    """To close the client waits for no pusher."""
    ours, _ = mute
    ours.watch(lambda: None)
    until("it watches", lambda: ours._watch_connection is not None)
    ours.close()
    assert ours._watcher is not None
    assert not ours._watcher.is_alive()


def error_of(ask: Callable[[], object]) -> str:
    """Return the error that a request raises."""
    with pytest.raises(HypervisorError) as error:
        ask()
    return str(error.value)
