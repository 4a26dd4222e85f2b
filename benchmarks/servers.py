"""Start server processes, wait for them, measure them from outside, and end them."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import CannotMeasure

ROOT = Path(__file__).parent.parent
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `ready_s` is the time from exec to its first reply."""

    process: subprocess.Popen[bytes]
    path: Path
    ready_s: float

    def get(self, path: str) -> tuple[int, Any]:
        """Return status and JSON body of a GET."""
        return get(self.path, path)

    def stop(self) -> float:
        """End it as systemd does; return how long that took."""
        began_s = time.monotonic()
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        return time.monotonic() - began_s

    def cpu_s(self) -> float:
        """Return the CPU time of all its threads, including ended ones."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8")
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self, field: str = "VmRSS") -> float:
        """Return the process's resident memory; VmHWM is its peak."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"{field}:\s+(\d+) kB", status)
        if found is None:
            raise CannotMeasure(f"cannot find {field} of process {self.process.pid}")
        return int(found[1]) / 1024


@contextmanager
def ours(
    directory: Path, guests: int, *, separate: bool = False, prefix: Sequence[str] = ()
) -> Iterator[Server]:
    """Run the daemon on a simulated host, with its database in `directory`.

    `separate` runs the pusher as a process of its own. `prefix` is put before the command.
    """
    path = directory / "ours.sock"
    arguments = ["benchmarks.ours", path, directory / "ledger.sqlite", guests]
    arguments += ["separate"] if separate else []
    with running(directory, path, arguments, "/v1/health", prefix) as server:
        yield server


@contextmanager
def rival(directory: Path, kind: str) -> Iterator[Server]:
    """Run a server of benchmarks/rivals.py."""
    path = directory / f"{kind}.sock"
    arguments = ["benchmarks.rivals", kind, path, directory / f"{kind}.sqlite"]
    with running(directory, path, arguments, "/") as server:
        yield server


@contextmanager
def running(
    directory: Path, path: Path, arguments: list[object], probe: str, prefix: Sequence[str] = ()
) -> Iterator[Server]:
    """Run `python -m ARGUMENTS`, wait for its first reply to `probe`, and end it afterwards.

    Raises CannotMeasure, with what the server wrote, if it does not start.
    """
    log = directory / f"{path.stem}.log"
    command = [*prefix, sys.executable, "-m", *(str(argument) for argument in arguments)]
    with log.open("wb") as file:
        began_s = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)
    try:
        yield Server(process, path, _wait_for_reply(process, path, probe, log) - began_s)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_reply(process: subprocess.Popen[bytes], path: Path, probe: str, log: Path) -> float:
    """Return the time of the first reply: 200, or any status for a probe of /."""
    until_s = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < until_s:
        try:
            status, _ = get(path, probe)
        except OSError:
            status = 0
        if status == 200 or (status and probe == "/"):
            return time.monotonic()
        time.sleep(0.002)
    written = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise CannotMeasure(f"cannot start {path.stem}: {written or 'it wrote nothing'}")


def get(path: Path, what: str) -> tuple[int, Any]:
    """GET over a new connection. Raises OSError while nothing listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(path))
        head = f"GET {what} HTTP/1.1\r\nHost: maxmemd\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        reply = b""
        while received := connection.recv(65536):
            reply += received
    head_, _, body = reply.partition(b"\r\n\r\n")
    is_json = b"json" in head_.lower()
    return int(head_.split()[1]), json.loads(body) if is_json else None
