"""A client of the events that reads nothing while much is decided: cut, and nothing is missed."""

import select
import socket
import time
from collections.abc import Callable

import pytest

from tests.api.handlers.test_events import Listener
from tests.support.figures import figure
from tests.support.outside import Outside
from tests.support.siege import Peak, p99_ms, times_of
from tests.support.soak import SOAK
from tests.support.until import until

STALLED = 16 if SOAK else 4
DECISIONS = 6000 if SOAK else 600
PACE = 50
"""Decisions between two looks at the daemon's memory."""
PATH = "/v1/domains/db/limit"
FIRST_KIB = 4 * 1024 * 1024


@pytest.mark.soak
def test_streams_that_are_not_read_are_cut(bounded: Outside) -> None:
    """Memory is bounded, others go on, the streams are cut, and their ids still stand for all."""
    id_ = _end(bounded)
    decided = 0

    def decide(peak: Callable[[], object]) -> None:
        nonlocal decided
        connection = bounded.open()
        while decided < DECISIONS:
            decided += 1
            body = {"max_mem_kib": FIRST_KIB + 4 * decided, "reason": "x" * 200}
            assert connection.ask("PUT", PATH, body)[0] == 200
            if decided % PACE == 0:
                peak()
        connection.close()

    calm = p99_ms(times_of(bounded, lambda: decide(bounded.rss_kib)))
    decided, peak = 0, Peak(bounded)
    stalled = [_stalled(bounded, id_) for _ in range(STALLED)]
    beside = p99_ms(times_of(bounded, lambda: decide(peak)))
    until("they are cut", lambda: all(map(_was_cut, stalled)), within_s=20.0)
    for sock in stalled:
        sock.close()
    ratio = beside / calm
    what = f"{STALLED} streams unread while {DECISIONS} are decided"
    figure("stalled", f"p99 beside {what}", f"{calm:.1f} -> {beside:.1f} ms, {ratio:.2f} times")
    peak.check(what)
    assert ratio < 3.0 or not SOAK
    _demand_all(bounded, id_)


def _end(daemon: Outside) -> str:
    """Return the id of now."""
    listener = Listener(daemon)
    line = next(line for line in iter(listener.reply.readline, b"") if line.startswith(b"id: "))
    listener.close()
    return line[4:].decode().strip()


def _stalled(daemon: Outside, id_: str) -> socket.socket:
    """Return a connection whose stream begins, and is never read."""
    sock = daemon.raw()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    request = f"GET /v1/events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {id_}\r\n\r\n"
    sock.sendall(request.encode())
    return sock


def _was_cut(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def _demand_all(daemon: Outside, id_: str) -> None:
    """Resume at their ids: each decision comes, in order, once; and none is missing."""
    daemon.ask("PUT", PATH, {"max_mem_kib": FIRST_KIB})
    listener = Listener(daemon, "?domain=db&kind=decision", Last_Event_ID=id_)
    began_s = time.monotonic()
    found = listener.until("mem-max", limit_kib=FIRST_KIB + 1024)
    listener.close()
    figure("stalled", f"{len(found)} events made up for in", f"{time.monotonic() - began_s:.1f} s")
    told = [event.limit_kib for event in found]
    once = [FIRST_KIB + 4 * number + 1024 for number in range(1, DECISIONS + 1)]
    assert told == [*once, *once, FIRST_KIB + 1024]
