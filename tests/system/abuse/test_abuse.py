"""What no client can do to the daemon over its socket: hold it, fill it, slow it or break it.

Each attack ends with a clear answer or a closed connection within 6 s; the daemon's memory stays
bounded, its descriptors come back, and it never answers 5xx.
"""

import resource
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.support.figures import figure
from tests.support.outside import Outside
from tests.support.siege import MOST_GROWTH_KIB, WITHIN_S, Peak, answer, p99_ms, status, times_of
from tests.support.soak import SOAK

MIB = 1024 * 1024
PUT = b"PUT /v1/domains/web/limit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def pour(sock: socket.socket, chunks: Iterator[bytes], watch: Callable[[], None]) -> int:
    """Send until the daemon has had enough; return how many bytes went."""
    sock.settimeout(WITHIN_S)
    sent = 0
    for chunk in chunks:
        try:
            sock.sendall(chunk)
        except OSError:
            break
        sent += len(chunk)
        watch()
    return sent


def test_a_body_of_100_mb(bounded: Outside) -> None:
    """A body that is announced too large is refused without being read."""
    peak = Peak(bounded)
    with bounded.raw() as sock:
        sock.sendall(PUT + b"Content-Length: %d\r\n\r\n" % (100 * MIB))
        pour(sock, (b"a" * MIB for _ in range(100)), peak)
        assert status(answer(sock)) in (413, None)
    peak.check("100 MB announced")


def test_a_chunked_body_of_100_mb(bounded: Outside) -> None:
    """A body that never said how large it is, is refused where it passes the bound."""
    peak = Peak(bounded)
    chunk = b"%x\r\n%s\r\n" % (MIB, b"a" * MIB)
    with bounded.raw() as sock:
        sock.sendall(PUT + b"Transfer-Encoding: chunked\r\n\r\n")
        pour(sock, (chunk for _ in range(100)), peak)
        assert status(answer(sock)) in (413, None)
    peak.check("100 MB chunked")


def test_a_body_of_100_mb_where_none_is_taken(bounded: Outside) -> None:
    """An unexpected body, on a read, is not kept."""
    peak = Peak(bounded)
    with bounded.raw() as sock:
        sock.sendall(
            b"GET /v1/host HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (100 * MIB)
        )
        pour(sock, (b"a" * MIB for _ in range(100)), peak)
        assert status(answer(sock)) in (200, 413, None)
    peak.check("100 MB with a GET")


@pytest.mark.parametrize("line", [b"X-%d: ", b"X: "], ids=["26 MB in 400 lines", "one line"])
def test_26_mb_of_headers(bounded: Outside, line: bytes) -> None:
    """Headers beyond 16 KiB end the connection."""
    peak = Peak(bounded)

    def lines() -> Iterator[bytes]:
        yield b"GET /v1/host HTTP/1.1\r\nHost: x\r\n"
        yield b"X-0: "
        for _ in range(400):
            yield b"a" * 65536 + (b"\r\nX-1: " if b"%d" in line else b"")

    with bounded.raw() as sock:
        sent = pour(sock, lines(), peak)
        assert sent < 4 * MIB
        assert status(answer(sock)) in (400, None)
    peak.check("26 MB of headers")


def test_an_endless_request_line(bounded: Outside) -> None:
    """A path that does not end is refused like headers that do not."""
    peak = Peak(bounded)
    with bounded.raw() as sock:
        sock.sendall(b"GET /")
        sent = pour(sock, (b"a" * 65536 for _ in range(400)), peak)
        assert sent < 4 * MIB
        assert status(answer(sock)) in (400, None)
    peak.check("an endless request line")


def _put(body: bytes) -> bytes:
    return PUT + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


BAD: dict[str, tuple[bytes, set[int | None]]] = {
    "NaN": (_put(b'{"max_mem_kib": NaN}'), {400, 422}),
    "200,000 brackets": (_put(b"[" * 200_000), {413, None}),
    "60,000 brackets": (_put(b"[" * 60_000), {400}),
    "10,000 objects deep": (_put(b'{"a":' * 10_000), {400}),
    "5,000 digits": (_put(b'{"max_mem_kib": %s}' % (b"9" * 5000)), {400, 422}),
    "60,000 digits": (_put(b'{"max_mem_kib": %s}' % (b"9" * 60_000)), {400, 422}),
    "a float of 60,000 digits": (_put(b'{"max_mem_kib": 1.%s}' % (b"9" * 60_000)), {409}),
    "1e999999": (_put(b'{"max_mem_kib": 1e999999}'), {400, 422}),
    "two lengths": (PUT + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde", {400, None}),
    "length and chunks": (
        PUT + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400, None},
    ),
    "a negative length": (PUT + b"Content-Length: -1\r\n\r\n", {400, None}),
    "a length of 99 digits": (PUT + b"Content-Length: %s\r\n\r\n" % (b"9" * 99), {400, None}),
    "a chunk of 99 digits": (
        PUT + b"Transfer-Encoding: chunked\r\n\r\n%s\r\n" % (b"f" * 99), {400, None},
    ),
    "NUL in the path": (b"GET /v1/\0 HTTP/1.1\r\nHost: x\r\n\r\n", {400, None}),
    "NUL in a header": (b"GET /v1/host HTTP/1.1\r\nHost: x\0\r\n\r\n", {400, 403, None}),
    "a folded header": (b"GET /v1/host HTTP/1.1\r\nHost: x\r\n y\r\n\r\n", {400, 403, None}),
    "no version": (b"GET /v1/host\r\n\r\n", {200, 400, None}),
    "version 9": (b"GET /v1/host HTTP/9.9\r\nHost: x\r\n\r\n", {400, None}),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, None}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400, None}),
    "the asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404, 405, None}),
    "CONNECT": (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404, 405, None}),
    "a path without a slash": (b"GET v1/host HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404, None}),
    "a URL without a path": (b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404, None}),
    "a URL": (b"GET http://x/v1/host HTTP/1.1\r\nHost: x\r\n\r\n", {200, 400, None}),
    "an upgrade": (
        b"GET /v1/host HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        {200, 400, 426, None},
    ),
    "Expect": (PUT + b"Content-Length: 1\r\nExpect: 100-continue\r\n\r\n{", {400}),
    "bytes that are no text": (b"GET /v1/domains/%FF%FE%00 HTTP/1.1\r\nHost: x\r\n\r\n", {422}),
    "raw letters": (b"GET /v1/domains/\xc3\xbc HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404}),
    "a query that is no text": (b"GET /v1/host?\xff=%FF HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_one_bad_request(bounded: Outside, name: str) -> None:
    """A request that is not one is answered 4xx, or the connection is closed."""
    request_bytes, statuses = BAD[name]
    with bounded.raw() as sock:
        with suppress(OSError):
            sock.sendall(request_bytes)
        assert status(answer(sock)) in statuses


def test_pipelining_without_reading(bounded: Outside) -> None:
    """A client that sends 200,000 requests and reads nothing is cut off, and holds no memory."""
    peak = Peak(bounded)
    many = b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 2000
    with bounded.raw() as sock:
        began_s = time.monotonic()
        sent = pour(sock, (many for _ in range(100)), peak)
        assert sent < len(many) * 100
        assert time.monotonic() - began_s < WITHIN_S + 1
    peak.check("200,000 pipelined requests")


def test_clients_that_never_read(bounded: Outside) -> None:
    """Clients that ask for large answers at a proper pace, and never read, are cut off."""
    peak = Peak(bounded)
    asking: dict[socket.socket, bytes] = {}
    with ExitStack() as stack:
        for path in (b"/v1/openapi.json", b"/v1/domains", b"/v1/docs") * 3:
            sock = stack.enter_context(bounded.raw())
            sock.setblocking(False)
            asking[sock] = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path
        began_s = time.monotonic()
        while asking:
            assert time.monotonic() - began_s < 2 * WITHIN_S
            for sock, request in list(asking.items()):
                try:
                    sock.send(request)
                except BlockingIOError:
                    continue
                except OSError:
                    del asking[sock]
            time.sleep(0.01)
            peak()
    peak.check("answers that are not read")


def _many(daemon: Outside, count: int, stack: ExitStack) -> list[socket.socket]:
    return [stack.enter_context(daemon.raw(WITHIN_S)) for _ in range(count)]


def _closed_within(socks: list[socket.socket], seconds: float, each_s: Callable[[], None]) -> float:
    """Return after how long all of them were closed by the daemon."""
    began_s = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for sock in socks:
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ)
        while selector.get_map():
            assert time.monotonic() - began_s < seconds, f"{len(selector.get_map())} are still open"
            for key, _ in selector.select(0.5):
                with suppress(BlockingIOError, ConnectionError):
                    if key.fileobj.recv(65536):  # type: ignore[union-attr]
                        continue
                selector.unregister(key.fileobj)
            each_s()
    return time.monotonic() - began_s


SLOW = {
    "idle": (b"", b""),
    "half a header": (b"PUT /v1/domains/web/limit HTTP/1.1\r\nHos", b""),
    "a dripping header": (b"GET /v1/host HTTP/1.1\r\nX: ", b"a"),
    "half a body": (PUT + b"Content-Length: 100\r\n\r\nab", b""),
    "a dripping body": (PUT + b"Content-Length: 100\r\n\r\n", b" "),
    "dripping chunks": (PUT + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}
KINDS = [[kind] for kind in SLOW] if SOAK else [list(SLOW)]


@pytest.mark.soak
@pytest.mark.parametrize("kinds", KINDS, ids=lambda kinds: kinds[0] if SOAK else "of all kinds")
def test_1000_slow_connections(bounded: Outside, room: int, kinds: list[str]) -> None:
    """A thousand clients that do not get on are cut off, while another one is served at once."""
    peak = Peak(bounded)
    with ExitStack() as stack:
        socks = _many(bounded, room, stack)
        drips: list[tuple[socket.socket, bytes]] = []
        for number, sock in enumerate(socks):
            first, drip = SLOW[kinds[number % len(kinds)]]
            sock.sendall(first)
            drips.append((sock, drip))
        began_s = time.monotonic()
        assert bounded.ask("GET", "/v1/host")[0] == 200
        assert time.monotonic() - began_s < WITHIN_S  # before any of them is cut off

        def each_s() -> None:
            for sock, drip in drips:
                if drip:
                    with suppress(OSError):
                        sock.send(drip)

        took_s = _closed_within(socks, WITHIN_S + 1, each_s)
    what = f"{room} slow connections ({kinds[0] if SOAK else 'of all kinds'})"
    figure("abuse", f"{what}: cut off after", f"{took_s:.1f} s")
    peak.check(what)


def test_more_connections_than_there_is_room_for(bounded: Outside, room: int) -> None:
    """Connections beyond 2048 are closed at once, and those that were there are served."""
    count = min(2300, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
    with bounded.raw() as first, ExitStack() as stack:
        first.sendall(b"GET /v1/host HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status(answer(first)) == 200
        for _ in range(count):
            with suppress(OSError):
                stack.enter_context(bounded.raw(1.0))
        first.sendall(b"GET /v1/host HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status(answer(first)) == 200


def test_clients_that_come_and_go(bounded: Outside) -> None:
    """Two thousand clients that vanish in the middle of something leave nothing behind."""
    halves = [
        b"",
        b"GET /v1/host HT",
        _put(b'{"max_mem_kib": 700000}'),
        PUT + b"Content-Length: 9\r\n\r\n1",
    ]
    for number in range(2000):
        with bounded.raw() as sock:
            sock.sendall(halves[number % len(halves)])


def test_a_body_that_breaks_off(bounded: Outside) -> None:
    """A body that is whole JSON, but not the whole body, is never acted on."""
    before = bounded.ask("GET", "/v1/domains/web")[1]["revision"]
    chunked = b"Transfer-Encoding: chunked\r\n\r\n15\r\n%s\r\n"
    for head in (b"Content-Length: 99\r\n\r\n%s", chunked):
        with bounded.raw() as sock:
            sock.sendall(PUT + head % b'{"max_mem_kib": 712345}')
            time.sleep(0.05)
    time.sleep(0.1)
    assert bounded.ask("GET", "/v1/domains/web")[1]["revision"] == before


ATTACKS: dict[str, Callable[[Outside], None]] = {}


def attack(name: str) -> Callable[[Callable[[Outside], None]], Callable[[Outside], None]]:
    """Name an attack that can be repeated beside a good client."""

    def keep(function: Callable[[Outside], None]) -> Callable[[Outside], None]:
        ATTACKS[name] = function
        return function

    return keep


@attack("pipelined requests")
def _pipeline(daemon: Outside) -> None:
    with daemon.raw() as sock:
        many = b"GET /v1/host HTTP/1.1\r\nHost: x\r\n\r\n" * 2000
        pour(sock, (many for _ in range(100)), lambda: None)


@attack("bodies of 100 MB")
def _bodies(daemon: Outside) -> None:
    with daemon.raw() as sock:
        sock.sendall(PUT + b"Content-Length: %d\r\n\r\n" % (100 * MIB))
        pour(sock, (b"a" * MIB for _ in range(100)), lambda: None)


@attack("26 MB of headers")
def _headers(daemon: Outside) -> None:
    with daemon.raw() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        pour(sock, (b"X: %s\r\n" % (b"a" * 65536) for _ in range(400)), lambda: None)


@attack("1,000 idle connections")
def _idle(daemon: Outside) -> None:
    with ExitStack() as stack:
        socks = _many(daemon, 1000, stack)
        if SOAK:
            _closed_within(socks, 30.0, lambda: time.sleep(0.1))


@attack("dripping clients")
def _drips(daemon: Outside) -> None:
    dripping = [(first, drip) for first, drip in SLOW.values() if drip]
    with ExitStack() as stack:
        socks = _many(daemon, 300, stack)
        for number, sock in enumerate(socks):
            sock.sendall(dripping[number % len(dripping)][0])
        for _ in range(10):
            for number, sock in enumerate(socks):
                with suppress(OSError):  # it was cut off
                    sock.send(dripping[number % len(dripping)][1])
            time.sleep(0.05)


@attack("clients that never read")
def _never_read(daemon: Outside) -> None:
    with ExitStack() as stack:
        socks = _many(daemon, 9, stack)
        for _ in range(50):
            for sock in socks:
                sock.setblocking(False)
                with suppress(OSError):  # full, or cut off
                    sock.send(b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.01)


@pytest.mark.soak
@pytest.mark.parametrize("name", ATTACKS)
def test_another_client_goes_on(daemon: Outside, room: int, name: str) -> None:
    """A good client is served beside an attack; under SOAK its p99 is at most doubled."""
    seconds, rounds = (5.0, 5) if SOAK else (0.7, 1)

    def attacked() -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            ATTACKS[name](daemon)

    calm, beside, growth_kib = 0.0, 0.0, 0
    for _ in range(rounds):
        calm += p99_ms(times_of(daemon, lambda: time.sleep(seconds))) / rounds
        rss_kib = daemon.rss_kib()
        beside += p99_ms(times_of(daemon, attacked)) / rounds
        growth_kib = max(growth_kib, daemon.rss_kib() - rss_kib)
    ratio = beside / calm
    figure("abuse", f"p99 beside {name}", f"{calm:.1f} -> {beside:.1f} ms, {ratio:.2f} times")
    assert daemon.ask("GET", "/v1/health")[0] == 200
    assert growth_kib < MOST_GROWTH_KIB
    assert ratio <= 2.0 or not SOAK
