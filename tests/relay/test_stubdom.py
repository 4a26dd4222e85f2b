"""How often one stub domain is looked at and answered."""

import threading
import time

import pytest

from maxmemd.relay import stubdom as pace
from tests.relay.scene import N, S, Scene, another_is_served
from tests.support.stub import Stub
from tests.support.xenstored import READ


def test_a_flood_of_writes(served: Scene, daemon: Stub) -> None:
    """A guest that writes without end is read at a bounded rate; others are served."""
    flooding, guest = threading.Event(), served.guest(S)

    def flood() -> None:
        number = 0
        while not flooding.is_set():
            number += 1
            guest.write("maxmem/request", "\x00\xff" * (number % 600))
            guest.write(f"maxmem/request/{number % 500}", "below it is its own")

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        time.sleep(0.5)
        for number in range(2):
            assert another_is_served(served, daemon, 40 + 2 * number)
        reads, began_s = served.fake.asked.count(READ), time.monotonic()
        time.sleep(1.5)
        took_s = time.monotonic() - began_s
        looks = (served.fake.asked.count(READ) - reads) / 6
        assert looks <= 2 * took_s / pace.LOOK_EVERY_S
    finally:
        flooding.set()
        thread.join()
    assert daemon.seen == [line for line in daemon.seen if f"/{N}/" not in line]
    assert served.answer(S, "a1 headroom 7") == "granted 4096"


def test_a_flood_of_requests(served: Scene, daemon: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst is served at once, and what comes after it waits for its time."""
    monkeypatch.setattr(pace, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(pace, "ASK_EVERY_S", 30.0)
    for number in range(pace.ASK_BURST):
        served.answer(S, f"r{number} headroom 7")
    served.ask(S, "late headroom 7")
    served.stays("it waits", lambda: len(daemon.seen) == pace.ASK_BURST)
    assert another_is_served(served, daemon)


def test_the_pace() -> None:
    """After the burst it is one in ASK_EVERY_S; what was not used is saved up to a burst."""
    home = pace.StubDomain(S)
    assert [home.rate.wait_s(100.0) for _ in range(pace.ASK_BURST + 1)] == [
        0.0
    ] * pace.ASK_BURST + [1.0]
    assert home.rate.wait_s(101.0) == 0.0
    assert home.rate.wait_s(101.0) == 1.0
    assert [home.rate.wait_s(9999.0) for _ in range(pace.ASK_BURST + 1)][-2:] == [0.0, 1.0]
