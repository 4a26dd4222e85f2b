"""Thirty domains and a xenstored that takes what it is asked and says nothing."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from maxmemd.arbiter.messages import DecisionRequest, DomainView, Granted, LookAtDomains
from maxmemd.errors import XenstoreError
from maxmemd.policy.wishes import Increase, SetMaxMem
from maxmemd.pusher.server import MESSAGE_WITHIN_S
from maxmemd.units import Memory
from maxmemd.xen.xenstore import Xenstored
from tests.support.seat import ACTOR, DM, Seat

DOMAINS = 30


@pytest.fixture
def mute(tmp_path: Path) -> Iterator[Xenstored]:
    """Give an adapter whose xenstored never answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "mute"))
        listener.listen(128)
        with closing(Xenstored(tmp_path / "mute", patience_s=MESSAGE_WITHIN_S)) as adapter:
            yield adapter


@pytest.fixture
def seat(mute: Xenstored) -> Seat:
    """Give a seat that knew all domains when xenstored fell silent."""
    seat = Seat()
    for number in range(DOMAINS):
        seat.host.create(f"web-{number}", memory=Memory.of_mib(64))
    seat.restart()
    seat.xenstore = mute
    return seat


def took_s(began_s: float) -> float:
    """Return the seconds since then."""
    return time.monotonic() - began_s


@pytest.mark.parametrize("known", [True, False])
def test_a_start(seat: Seat, *, known: bool) -> None:
    """It is ready within 10 s, and a poll takes less than 6 s, whether or not it knew them."""
    if not known:
        seat = Seat(host=seat.host, xenstore=seat.xenstore)
    began_s = time.monotonic()
    seat.restart()
    assert took_s(began_s) < 10.0
    assert len(seat.arbiter.records) == DOMAINS + 1

    began_s = time.monotonic()
    seat.poll()
    assert took_s(began_s) < 6.0
    assert {seat.state(domid) for domid in range(1, DOMAINS + 1)} == {"applied"}


def test_a_start_asks_for_what_it_needs_only(seat: Seat) -> None:
    """Of a domain that runs and has a record only the name is asked for, and not a second time."""
    asked: list[int] = []

    class Counted:
        """Counts what is asked, and has no answer."""

        def facts(self, domid: int) -> None:
            asked.append(domid)
            raise XenstoreError("read", 5)

    seat.xenstore = Counted()  # type: ignore[assignment]
    seat.restart()
    seat.poll()
    assert asked == [0, 0]


def test_a_batch(seat: Seat) -> None:
    """Six mem-max in one batch are answered within one patience, and who needs none."""
    seat.restart()
    began_s = time.monotonic()
    asks = [
        DecisionRequest(str(domid), SetMaxMem(Memory.of_mib(96)), ACTOR) for domid in range(1, 7)
    ]
    answers = seat.arbiter.turn([*asks, DecisionRequest("7", Increase(DM, 256), ACTOR)])
    assert took_s(began_s) < 6.0
    assert {type(answer) for answer in answers[:-1]} == {XenstoreError}
    assert isinstance(answers[-1], Granted)
    assert seat.pages(7) == Memory.of_mib(65).pages + 64


def test_a_look_at_everything(seat: Seat) -> None:
    """GET /v1/domains is answered within one patience, with what Xen says."""
    seat.restart()
    began_s = time.monotonic()
    (views,) = seat.arbiter.turn([LookAtDomains()])
    assert took_s(began_s) < 6.0
    assert isinstance(views, tuple)
    assert len(views) == DOMAINS + 1
    assert all(isinstance(view, DomainView) and view.xen for view in views)
