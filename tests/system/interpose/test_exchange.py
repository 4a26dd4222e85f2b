"""exchange.c against a server that does what no server should: clear words, and never for long."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EBUSY, ECONNREFUSED
from pathlib import Path

import pytest

from tests.system.interpose.conftest import Built, Ran, valgrind

MIB = 1024
LIMIT = ("max", 1, 700 * MIB)
MOST = 16383
"""Bytes of head and body that it takes in."""


def reply(body: bytes = b"{}", *headers: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """Return a reply with the length of its body, and more headers."""
    return b"\r\n".join([status, b"Content-Length: %d" % len(body), *headers, b"", body])


def longest() -> bytes:
    """Return a reply that fills the buffer."""
    head = len(reply(b" " * 10000)) - 10000
    return reply(b" " * (MOST - head))


NOT_REPLIES = [
    (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "the reply is not HTTP"),
    (b"HTTP/2 200\r\n\r\n", "the reply is not HTTP"),
    (b"HTTP/1.1\t200 OK\r\nContent-Length: 2\r\n\r\n{}", "the reply is not HTTP"),
    (reply(status=b"HTTP/1.1 2000 OK"), "the reply is not HTTP"),
    (reply(status=b"HTTP/1.1 20"), "the reply is not HTTP"),
    (reply(status=b"HTTP/1.1 -20 OK"), "the reply is not HTTP"),
    (reply(b"{}", b"X: \0"), "the reply is not HTTP"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + reply(), "status 100 is not a final one"),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "the reply has a Transfer-Encoding",
    ),
    (reply(b"{}", b"transfer-encoding: x"), "the reply has a Transfer-Encoding"),
    (b"HTTP/1.1 200 OK\r\n\r\n{}", "the reply has no unique Content-Length"),
    (reply(b"{}", b"content-length: 2"), "the reply has no unique Content-Length"),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n",
        "the reply has no unique Content-Length",
    ),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\n", "the reply has no unique Content-Length"),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "the reply has no unique Content-Length",
    ),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n",
        "the reply of 9223372036854775807 bytes is too long",
    ),
    (reply(b"x" * MOST), f"the reply of {MOST} bytes is too long"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20000, "the reply is too long"),
    (b"", "the connection ended before the reply did"),
    (b"HTTP/1.1 200 OK\r\nContent-", "the connection ended before the reply did"),
    (reply()[:-1], "the connection ended before the reply did"),
]


class Hostile:
    """A server on a Unix socket that answers each connection as its function does."""

    def __init__(self, path: Path, answer: Callable[[socket.socket], None]) -> None:
        self.requests: list[bytes] = []
        self.reads = True
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(5)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, suppress(BrokenPipeError, ConnectionResetError):
                    self.requests.append(connection.recv(65536) if self.reads else b"")
                    self._answer(connection)


Server = Callable[[Callable[[socket.socket], None] | bytes], Hostile]


@pytest.fixture
def server(away: Built, tmp_path: Path) -> Iterator[Server]:
    """Give what makes a server, that says these bytes or does this, where the library asks."""
    made = []

    def make(answer: Callable[[socket.socket], None] | bytes) -> Hostile:
        away.socket = tmp_path / "hostile.sock"
        does = (lambda at: at.sendall(answer)) if isinstance(answer, bytes) else answer
        made.append(Hostile(away.socket, does))
        return made[-1]

    yield make
    for one in made:
        one.close()


def refused(ran: Ran, words: str) -> None:
    """Assert that the call failed, that Xen was not told, and that one line says so."""
    assert (ran.rc, ran.errno, ran.xen) == (-1, ECONNREFUSED, [])
    assert ran.stderr.count("\n") == 1
    assert f": {words} (is it running?" in ran.stderr


def test_what_is_sent(away: Built, server: Server) -> None:
    """One request that ends the connection, with the length of its body and a key of its own."""
    there = server(reply())
    assert away.run(*LIMIT).rc == 0
    head, body = there.requests[0].decode().split("\r\n\r\n")
    first, *headers = head.split("\r\n")
    assert first == "PUT /v1/domains/1/limit HTTP/1.1"
    named = dict(line.split(": ") for line in headers)
    assert len(named.pop("Idempotency-Key")) == 32
    assert named == {
        "Host": "localhost",
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    assert body == '{"max_mem_kib": 716800}'


@pytest.mark.parametrize(("bytes_", "words"), NOT_REPLIES)
def test_what_is_not_a_reply(away: Built, server: Server, bytes_: bytes, words: str) -> None:
    """Is refused in clear words, whatever of it looks like a grant."""
    server(bytes_)
    refused(away.run(*LIMIT), words)


@pytest.mark.long
@pytest.mark.parametrize("watch", ["sanitizers", "valgrind"])
def test_nothing_of_it_does_harm(
    away: Built, server: Server, watch: str, request: pytest.FixtureRequest
) -> None:
    """AddressSanitizer, UndefinedBehaviorSanitizer and valgrind have nothing to say."""
    watched = away
    if watch == "valgrind":
        watched.wrapper = valgrind()
    else:
        watched = request.getfixturevalue("sanitized")
    said = iter([*[bytes_ for bytes_, _ in NOT_REPLIES], longest()])
    server(lambda connection: connection.sendall(next(said)))
    watched.socket = away.socket
    ran = watched.run("times", len(NOT_REPLIES), *LIMIT)  # in one program: valgrind starts slowly
    assert (ran.rc, ran.errno, ran.xen) == (-1, ECONNREFUSED, [])
    for line, (_, words) in zip(ran.stderr.splitlines(), NOT_REPLIES, strict=True):
        assert f": {words} (is it running?" in line
    assert watched.run(*LIMIT).rc == 0


def test_the_longest_reply(away: Built, server: Server) -> None:
    """Head and body together may fill the buffer, to the byte."""
    server(longest())
    assert away.run(*LIMIT).rc == 0


def test_a_reply_byte_by_byte(away: Built, server: Server) -> None:
    """Is a reply, wherever it is cut; what follows it is not looked at."""

    def drip(connection: socket.socket) -> None:
        for byte in reply(b'{"code": "not-allowed", "detail": "a word"}', status=b"HTTP/1.0 403 "):
            connection.send(bytes([byte]))
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n")

    server(drip)
    ran = away.run("raw", 1, 700 * MIB)
    assert ran.rc == -1
    assert ran.stderr.endswith(": a word\n")


def test_a_reply_that_takes_for_ever(away: Built, server: Server) -> None:
    """Single slow bytes do not prolong the wait: the deadline is of the whole exchange."""
    sent = []

    def trickle(connection: socket.socket) -> None:
        for byte in reply(b" " * 600):
            sent.append(connection.send(bytes([byte])))
            time.sleep(0.1)

    server(trickle)
    refused(away.run(*LIMIT), "no reply within 9000 ms")
    assert 0 < len(sent) < 600


def test_a_server_that_takes_nothing(away: Built, tmp_path: Path) -> None:
    """A queue of connections that is full is given up; the request was not sent."""
    away.socket = tmp_path / "full.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(away.socket))
        listener.listen(0)
        first.connect(str(away.socket))
        ran = away.run(*LIMIT)
    refused(ran, "the connection is not accepted")
    assert "nothing was changed" in ran.stderr


def test_one_that_was_cut_off_is_sent_again(away: Built, server: Server) -> None:
    """With the same key, so that it happens once."""
    there: list[Hostile] = []

    def second_time_lucky(connection: socket.socket) -> None:
        if len(there[0].requests) > 1:
            connection.sendall(reply())

    there.append(server(second_time_lucky))
    away.conf = "wait_ms=0"
    assert away.run(*LIMIT).rc == 0
    first, second = there[0].requests
    assert first == second


def test_a_server_that_hangs_up_at_once(away: Built, server: Server) -> None:
    """Without a look at the request: the program lives on, whatever its SIGPIPE does."""
    there = server(lambda connection: None)
    there.reads = False
    away.conf = "wait_ms=0\nbusy_ms=1000"
    began = time.monotonic()
    ran = away.run(*LIMIT)
    assert 1 <= time.monotonic() - began < 4
    assert (ran.rc, ran.xen) == (-1, [])
    assert len(there.requests) > 10
    assert "maxmemctl history shows whether it was done" in ran.stderr
    assert "waiting for maxmemd" not in ran.stderr


BUSY = reply(
    b'{"code": "arbiter-busy", "detail": "cannot answer within 7 s"}', status=b"HTTP/1.1 503 x"
)


def test_one_that_is_busy_is_asked_again(away: Built, server: Server) -> None:
    """With the same key, whether it answers or hangs up; it is logged once."""
    there: list[Hostile] = []

    def at_last(connection: socket.socket) -> None:
        number = len(there[0].requests)
        if number < 20:
            time.sleep(0.2)
            connection.sendall(BUSY)
        elif number > 20:
            connection.sendall(reply())

    there.append(server(at_last))
    away.conf = ""
    ran = away.run(*LIMIT)
    assert ran.rc == 0
    assert len(set(there[0].requests)) == 1
    assert len(there[0].requests) == 21
    assert ran.stderr == f"maxmemd: waiting for maxmemd at {away.socket}: it is busy\n"


def test_one_that_is_silent(away: Built, server: Server) -> None:
    """It may be starting, with the request in systemd's socket: it has `busy_ms` for that."""

    def late(connection: socket.socket) -> None:
        time.sleep(9.5)
        connection.sendall(reply())

    there = server(late)
    away.conf = "wait_ms=0\nbusy_ms=20000"
    assert away.run(*LIMIT).rc == 0
    assert len(there.requests) == 1


def test_one_that_stays_busy(away: Built, server: Server) -> None:
    """Is asked for so long and no longer; then its answer is the answer."""
    there = server(BUSY)
    away.conf = "wait_ms=9000\nbusy_ms=500"
    began = time.monotonic()
    ran = away.run("raw", 1, 700 * MIB)
    assert 0.5 <= time.monotonic() - began < 4
    assert (ran.rc, ran.errno, ran.xen) == (-1, EBUSY, [])
    assert ran.stderr.endswith(": cannot answer within 7 s\n")
    assert len(set(there.requests)) == 1 < len(there.requests)


@pytest.mark.parametrize("code", ["xen-failed", "ledger-busy"])
def test_other_trouble_is_an_answer(away: Built, server: Server, code: str) -> None:
    """No other 503 is asked again."""
    there = server(reply(b'{"code": "%s"}' % code.encode(), status=b"HTTP/1.1 503 x"))
    away.conf = "wait_ms=9000\nbusy_ms=9000"
    assert away.run(*LIMIT).rc == -1
    assert len(there.requests) == 1


def test_one_that_went_while_it_was_asked(away: Built, server: Server) -> None:
    """If there is no listener after trouble, it is waited for as in that trouble."""
    there: list[Hostile] = []

    def goes(connection: socket.socket) -> None:
        away.socket.unlink()

    there.append(server(goes))
    away.conf = "wait_ms=0\nbusy_ms=700"
    began = time.monotonic()
    ran = away.run(*LIMIT)
    assert 0.7 <= time.monotonic() - began < 4
    assert (ran.rc, ran.errno) == (-1, ECONNREFUSED)
    assert len(there[0].requests) == 1
    assert "nothing was changed" not in ran.stderr


def test_signals_do_not_disturb(away: Built, server: Server) -> None:
    """A program with a timer that interrupts every call gets its answer all the same."""

    def late(connection: socket.socket) -> None:
        time.sleep(0.3)
        connection.sendall(reply())

    server(late)
    assert away.run("ticking", 1, 700 * MIB).rc == 0


def test_a_path_that_does_not_fit(away: Built) -> None:
    """Is never cut: the configuration says so, and its default is used."""
    away.socket = Path("/" + "x" * 200)
    ran = away.run(*LIMIT)
    assert ran.rc == -1
    assert "cannot use the socket" in ran.stderr
