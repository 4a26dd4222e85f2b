"""The daemon's side: a pusher that is killed, hangs, or starts slowly."""

import signal
import threading
import time
from contextlib import suppress
from errno import ETIMEDOUT

import pytest

from maxmemd.errors import HypervisorError, XenstoreError
from maxmemd.pusher import client
from maxmemd.pusher.client import PusherClient
from maxmemd.pusher.connect import ChildConnector
from tests.pusher.orders import FLOOR, MIB, SERVE, WITHIN_S, max_pages, order
from tests.support.simhost import SimHost


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
