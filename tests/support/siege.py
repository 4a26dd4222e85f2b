"""What every attack is measured by: answers in time, the daemon's memory, a good client's p99."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable

from tests.support.figures import figure
from tests.support.outside import Outside
from tests.support.process import ROOT

WITHIN_S = 6.0
MOST_GROWTH_KIB = 20 * 1024
SQLITES = min(32, (os.cpu_count() or 1) + 4)
"""Descriptors that SQLite may keep for the next reader: while it holds a lock of the file it closes
none. No more than the threads that read at a time."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def answer(sock: socket.socket) -> bytes:
    """Return all that comes until the daemon closes or says nothing for the time allowed."""
    deadline = time.monotonic() + WITHIN_S
    found = b""
    while (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            more = sock.recv(65536)
        except TimeoutError:
            break
        except OSError:
            return found
        if not more:
            return found
        found += more
        if b"\r\n\r\n" in found and _whole(found):
            return found
    raise AssertionError(f"neither answered nor closed: {found[:200]!r}")


def _whole(found: bytes) -> bool:
    head, _, body = found.removeprefix(CONTINUE).partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return length is not None and len(body) >= int(length[1])


def status(found: bytes) -> int | None:
    """Return the status of an answer; None when the connection was only closed."""
    found = found.removeprefix(CONTINUE)
    return int(found.split(b" ", 2)[1]) if found.startswith(b"HTTP/1.1 ") else None


class Peak:
    """The largest memory that the daemon had."""

    def __init__(self, daemon: Outside) -> None:
        self._daemon = daemon
        self.first_kib = self.most_kib = daemon.rss_kib()

    def __call__(self) -> None:
        """Look at it."""
        self.most_kib = max(self.most_kib, self._daemon.rss_kib())

    def check(self, what: str) -> None:
        """Demand that it stayed bounded."""
        self()
        growth_kib = self.most_kib - self.first_kib
        figure("abuse", f"{what}: memory at most", f"{growth_kib / 1024:+.1f} MiB")
        assert growth_kib < MOST_GROWTH_KIB, what


def times_of(daemon: Outside, during: Callable[[], None]) -> list[float]:
    """Return how long a good client's answers took while something went on."""
    client = subprocess.Popen(
        [sys.executable, "-m", "tests.support.good_client", str(daemon.socket)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        time.sleep(0.5)
        during()
    finally:
        told, _ = client.communicate()
    found: list[float] = json.loads(told)
    return sorted(found[len(found) // 10 :])


def p99_ms(times: list[float]) -> float:
    return times[int(len(times) * 0.99)] * 1000
