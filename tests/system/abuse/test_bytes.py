"""Requests that went wrong on their way, over the real socket: cut, doubled, swapped, in pieces.

The coverage-guided fuzzer (tests/system/fuzz/) looks for ways in one process; here are the kernel's
socket, uvloop and threads. Every connection ends within some seconds, in an answer below 500 or
without one.
"""

import random
import selectors
import socket
import time
from contextlib import suppress

import pytest

from maxmemd.api.routes import ROUTES
from tests.support.figures import figure
from tests.support.outside import Outside
from tests.support.siege import Peak
from tests.support.soak import SOAK
from tests.support.wishes import BODIES, path_of

CONNECTIONS = 20_000 if SOAK else 400
AT_ONCE = 256
ENDS_WITHIN_S = 30.0
SEED = time.time_ns() if SOAK else 2026
HEADERS = (
    b"Host: x", b"Host: evil.example", b"Content-Type: application/json", b"Content-Length: 12",
    b"Transfer-Encoding: chunked", b"Expect: 100-continue", b'If-Match: "1"', b"Connection: close",
    b"Idempotency-Key: k", b"Last-Event-ID: 0", b"Upgrade: websocket", b"Connection: Upgrade",
    b"Accept: */*", b"Origin: null", b"Authorization: Bearer mxm_x", b"X: " + b"a" * 9000,
)  # fmt: skip


def request(chance: random.Random) -> bytes:
    """Return one request to some route, mostly a good one."""
    route = chance.choice(ROUTES)
    body = b""
    if route.handler.__name__ in BODIES:
        wish = dict(BODIES[route.handler.__name__])
        if chance.random() < 0.3:
            wish[chance.choice(list(wish))] = chance.choice([-1, 2**53, 1e300, None, True, "9", []])
        body = str(wish).replace("'", '"').replace("None", "null").replace("True", "true").encode()
    lines = [f"{route.method} {path_of(route)} HTTP/1.1".encode(), b"Host: x"]
    lines += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)] if body else []
    lines += chance.sample(HEADERS, chance.choice([0, 0, 0, 1, 2]))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def harmed(data: bytes, chance: random.Random) -> bytes:
    """Return bytes with something wrong."""
    at, to = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    ways = (
        data[:at],
        data[:at] + data[to:],
        data[:to] + data[at:to] + data[to:],
        data[:at] + chance.randbytes(chance.choice([1, 2, 8, 300])) + data[at:],
        data[:at] + bytes([data[at % len(data)] ^ 1 << chance.randrange(8)]) + data[at + 1 :],
        data.replace(b"\r\n", chance.choice([b"\n", b"\r", b"\r\n ", b"\0"]), 1),
        data + data[::-1],
    )
    return chance.choice(ways) or b"\0"


def attempt(chance: random.Random) -> list[bytes]:
    """Return what one connection sends, in the pieces in which it does."""
    data = b"".join(request(chance) for _ in range(chance.choice([1, 1, 1, 2, 5])))
    for _ in range(chance.choice([0, 1, 1, 2, 4])):
        data = harmed(data, chance)
    cuts = sorted({0, *(chance.randrange(len(data)) for _ in range(chance.choice([0, 1, 5])))})
    return [data[start:end] for start, end in zip(cuts, [*cuts[1:], len(data)], strict=True)]


class Attempts:
    """Connections that were tried, and what came of them."""

    def __init__(self, daemon: Outside) -> None:
        self._daemon = daemon
        self._selector = selectors.DefaultSelector()
        self.answered = self.closed = 0

    def begin(self, sent: list[bytes], *, goes: bool) -> None:
        """Send one; who goes away does not wait for what comes."""
        with self._daemon.raw() as sock:
            with suppress(OSError):
                for piece in sent:
                    sock.sendall(piece)
            if not goes:
                kept = sock.dup()
                kept.setblocking(False)
                due_s = time.monotonic() + ENDS_WITHIN_S
                self._selector.register(kept, selectors.EVENT_READ, (due_s, sent, bytearray()))

    def look(self, most: int) -> None:
        """Read what came, until no more than so many are open."""
        while len(self._selector.get_map()) > most:
            for key, _ in self._selector.select(0.2):
                self._read(key)
            for due_s, sent, found in [key.data for key in self._selector.get_map().values()]:
                assert time.monotonic() < due_s, (
                    f"it does not end: {sent!r}: {bytes(found[:300])!r}"
                )

    def _read(self, key: selectors.SelectorKey) -> None:
        sock: socket.socket = key.fileobj  # type: ignore[assignment]
        _, sent, found = key.data
        more = b""
        with suppress(ConnectionError):
            more = sock.recv(65536)
        found.extend(more)
        assert b"HTTP/1.1 5" not in found, f"{sent!r}: {bytes(found)!r}"
        if not more or b"text/event-stream" in found:  # a stream has no end of its own
            assert not found or found.startswith(b"HTTP/1.1 "), sent
            self.answered += bool(found)
            self.closed += not found
            self._selector.unregister(sock)
            sock.close()


@pytest.mark.soak
def test_requests_that_went_wrong(bounded: Outside) -> None:
    """Nothing but answers below 500 and closed connections; memory is bounded; no traceback."""
    chance = random.Random(SEED)
    peak, attempts = Peak(bounded), Attempts(bounded)
    for number in range(CONNECTIONS):
        attempts.begin(attempt(chance), goes=chance.random() < 0.2)
        if number % 16 == 0:
            attempts.look(AT_ONCE)
            peak()
    attempts.look(0)
    what = f"{CONNECTIONS} harmed connections (seed {SEED})"
    figure("bytes", what, f"{attempts.answered} answered, {attempts.closed} closed without")
    peak.check(what)
    assert attempts.answered > CONNECTIONS // 4
