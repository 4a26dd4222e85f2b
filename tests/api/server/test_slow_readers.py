"""Requests that arrive in many pieces are read in turn, and none is forgotten."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from maxmemd.api.server.slow_readers import AT_ONCE, EACH_S, ReadScheduler
from tests.support.outside import Outside
from tests.support.siege import answer, status
from tests.system.fuzz.still import Loop, Transport
from tests.system.fuzz.target import Target, Watched

BODY = b'{"max_mem_kib": 700000}'
HEAD = b"PUT /v1/domains/web/limit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Waiting:
    """A connection that counts its turns, and joins again a given number of times."""

    def __init__(self, read_scheduler: ReadScheduler, again: int = 0) -> None:
        self._read_scheduler, self._again, self.went_on = read_scheduler, again, 0

    def resume(self) -> None:
        """Count, and join again."""
        self.went_on += 1
        if self._again >= self.went_on:
            self._read_scheduler.join(self)


@pytest.fixture
def loop() -> Iterator[Loop]:
    """Give a loop whose time stands still."""
    found = Loop()
    asyncio.set_event_loop(found)
    yield found
    asyncio.set_event_loop(None)
    found.close()


def test_a_few_in_turn(loop: Loop) -> None:
    """At each step so many go on as are to, in the order in which they came."""
    read_scheduler = ReadScheduler()
    crowd = [Waiting(read_scheduler) for _ in range(5 * AT_ONCE + 1)]
    loop.step(lambda: [read_scheduler.join(one) for one in crowd])
    for step in range(6):
        loop.step(lambda: None, after_s=EACH_S)
        first = min(len(crowd), (step + 1) * AT_ONCE)
        assert [one.went_on for one in crowd] == [1] * first + [0] * (len(crowd) - first)


def test_who_comes_again_waits_again(loop: Loop) -> None:
    """One that never completes does not delay the others; an empty scheduler stops."""
    read_scheduler = ReadScheduler()
    endless, others = Waiting(read_scheduler, again=20), [Waiting(read_scheduler) for _ in range(4)]
    loop.step(lambda: [read_scheduler.join(one) for one in (endless, *others)])
    for _ in range(4):
        loop.step(lambda: None, after_s=EACH_S)
    assert all(one.went_on == 1 for one in others)
    for _ in range(30):
        loop.step(lambda: None, after_s=EACH_S)
    assert endless.went_on == 21
    assert not loop._scheduled  # type: ignore[attr-defined]


@pytest.fixture
def target() -> Iterator[Target]:
    """Give the daemon without its socket."""
    found = Target()
    yield found
    found.close()


def connected(target: Target) -> tuple[Watched, Transport]:
    """Return a connection of root to a host of its own."""
    target._new_host()
    transport = Transport(0)
    connection = Watched(target._http, target._state, {}, target._loop)
    target._loop.step(lambda: connection.connection_made(transport))
    return connection, transport


def test_a_request_in_many_pieces(target: Target) -> None:
    """A head and its body are read as they come; beyond that each piece waits for its turn."""
    connection, transport = connected(target)
    cut = WHOLE.index(BODY)
    target._loop.step(lambda: connection.data_received(WHOLE[:cut]))
    assert transport.reading
    target._loop.step(lambda: connection.data_received(BODY[:3]))
    assert not transport.reading
    target._loop.step(lambda: None, after_s=EACH_S)
    assert transport.reading
    target._loop.step(lambda: connection.data_received(BODY[3:]))
    assert transport.reading
    assert status(bytes(transport.sent)) == 200
    target._loop.step(lambda: connection.connection_lost(None))


@pytest.mark.parametrize("gone", [False, True], ids=["pipelined", "closed"])
def test_who_is_not_to_read(target: Target, gone: bool) -> None:
    """Its turn does not make a connection read that is closed, or waits for an answer first."""
    connection, transport = connected(target)
    transport.reading = False
    connection.flow.read_paused = True
    if gone:
        transport.close()
    else:
        connection.pipeline.append(("a cycle", "an app"))  # type: ignore[arg-type]
    connection.resume()
    assert not transport.reading
    connection.pipeline.clear()
    target._loop.step(lambda: connection.connection_lost(None))


def test_byte_by_byte(bounded: Outside) -> None:
    """A request that comes byte by byte over the real socket is served like any other."""
    with bounded.raw() as sock:
        for place in range(len(WHOLE)):
            sock.sendall(WHOLE[place : place + 1])
        assert status(answer(sock)) == 200


def test_a_client_does_not_notice_many_slow_ones(bounded: Outside, room: int) -> None:
    """A client that sends whole requests does not notice that many others do not."""
    held: list[socket.socket] = []
    try:
        for _ in range(min(room, 300)):
            held.append(bounded.raw())
            held[-1].sendall(HEAD)
        for sock in held:
            sock.sendall(b"X-Slow: y")
        assert bounded.ask("GET", "/v1/host")[0] == 200
    finally:
        for sock in held:
            sock.close()
