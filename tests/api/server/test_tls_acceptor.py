"""Many TCP connections: unfinished handshakes are bounded, and other clients are served."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from maxmemd.api.server.tls_acceptor import MOST_HANDSHAKES, MOST_HANDSHAKES_EACH
from tests.support.certificates import needs_openssl
from tests.support.elsewhere import Elsewhere, elsewhere
from tests.support.figures import figure
from tests.support.siege import Peak, p99_ms, times_of
from tests.support.soak import SOAK
from tests.support.until import until

pytestmark = needs_openssl
COUNT = 5000 if SOAK else 1000
CLOSING = 8
"""Of those that were ended so many may still be seen: to close takes a pass of the loop or two."""
QUIET_S = 3.0 if SOAK else 1.0


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    """Give a daemon that listens on TCP too."""
    with elsewhere(tmp_path_factory.mktemp("far")) as found:
        yield found
        assert "Traceback" not in found.daemon.said()


def inside(far: Elsewhere) -> int:
    """Return how many TCP connections the daemon holds."""
    folder = Path(f"/proc/{far.daemon.running.pid}/fd")
    links = []
    for one in folder.iterdir():
        with suppress(FileNotFoundError):
            links.append(str(one.readlink()))
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = {line[9] for line in lines if line[1].endswith(f":{far.port:04X}") and line[3] != "0A"}
    return sum(link.removeprefix("socket:[").rstrip("]") in ours for link in links)


def check_handshake(far: Elsewhere, source: str) -> socket.socket:
    """Connect from an address, and say nothing."""
    sock = socket.socket()
    sock.bind((source, 0))
    sock.setblocking(False)
    with suppress(BlockingIOError):
        sock.connect(("127.0.0.1", far.port))
    return sock


def served(far: Elsewhere, source: str) -> bool:
    """Whether a client with a certificate is served at an address."""
    with (
        socket.create_connection(
            ("127.0.0.1", far.port), timeout=20, source_address=(source, 0)
        ) as plain,
        far.context("watcher").wrap_socket(plain, server_hostname="127.0.0.1") as link,
    ):
        link.sendall(b"GET /v1/host HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        return link.recv(1024).startswith(b"HTTP/1.1 200 ")


def calm(far: Elsewhere) -> None:
    """Wait until nothing of a crowd is left."""
    until("all of them are let go", lambda: inside(far) == 0, within_s=20)


def test_one_address(far: Elsewhere) -> None:
    """It has a few handshakes at a time; the oldest gives way, so who gets on is served."""
    assert served(far, "127.0.0.1")
    with ExitStack() as held:
        for _ in range(60):
            held.enter_context(check_handshake(far, "127.0.0.2"))
        until("they are in", lambda: inside(far) == MOST_HANDSHAKES_EACH)
        assert served(far, "127.0.0.2")
        assert served(far, "127.0.0.3")
        for _ in range(200):
            held.enter_context(check_handshake(far, "127.0.0.2"))
        until("it is logged", lambda: "its limit is 50 connections per second" in far.daemon.said())
        assert served(far, "127.0.0.3")
        until("the rest is let go", lambda: inside(far) <= MOST_HANDSHAKES_EACH)
    calm(far)
    link = far.daemon.open()
    link.request("GET", "/metrics")
    text = link.getresponse().read().decode()
    link.close()
    assert 'maxmemd_refusals_total{code="too-many-requests"}' in text
    assert 'maxmemd_refusals_total{code="tls-failed"}' in text


def test_many_addresses(far: Elsewhere) -> None:
    """All together have so many at a time, and each new one finds room."""
    with ExitStack() as held:
        for number in range(20):
            for _ in range(MOST_HANDSHAKES_EACH):
                held.enter_context(check_handshake(far, f"127.0.1.{number + 1}"))
        until("they are in", lambda: inside(far) == MOST_HANDSHAKES)
        assert served(far, "127.0.0.4")
    calm(far)


def test_who_never_ends_a_handshake_is_let_go(far: Elsewhere) -> None:
    """It has five seconds, and the log says why it is over; nonsense has none."""
    with check_handshake(far, "127.0.0.5") as silent:
        silent.settimeout(20)
        began = time.monotonic()
        assert silent.recv(1) == b""
        assert time.monotonic() - began > 2
    with check_handshake(far, "127.0.0.6") as plain:
        plain.settimeout(20)
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with suppress(ConnectionResetError):
            while plain.recv(1024):
                continue
    calm(far)
    for address in ("127.0.0.5", "127.0.0.6"):
        until("the log says why", lambda address=address: failed(far, address))


def failed(far: Elsewhere, address: str) -> bool:
    """Whether the log has a line for a handshake of this address that failed."""
    lines = far.daemon.said().splitlines()
    return any("the TLS handshake failed" in line and address in line for line in lines)


@pytest.mark.soak
def test_thousands_beside_the_unix_socket(far: Elsewhere) -> None:
    """Clients of the Unix socket hardly notice; memory and descriptors are bounded."""
    room = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(room[1], COUNT + 512), room[1]))
    peak = Peak(far.daemon)
    most = 0

    def attack() -> None:
        nonlocal most
        with ExitStack() as held:
            for number in range(COUNT):
                held.enter_context(check_handshake(far, f"127.0.2.{number % 50 + 1}"))
                if number % 100 == 0:
                    most = max(most, inside(far))
                    peak()
            time.sleep(1.0)
            most = max(most, inside(far))
            assert served(far, "127.0.0.7")

    quiet = p99_ms(times_of(far.daemon, lambda: time.sleep(QUIET_S)))
    during = p99_ms(times_of(far.daemon, attack))
    ratio = during / quiet
    what = f"{COUNT} half-open TLS connections"
    figure("crowds", f"p99 beside {what}", f"{quiet:.1f} -> {during:.1f} ms, {ratio:.2f} times")
    peak.check(what)
    assert most <= MOST_HANDSHAKES + CLOSING
    assert ratio < 3.0 or not SOAK
    calm(far)
