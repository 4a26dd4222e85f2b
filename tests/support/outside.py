"""The real daemon in a process of its own, on a Unix socket, and raw connections to it."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
SOAK = os.environ.get("SOAK") == "1"
START_WITHIN_S = 20.0


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to a Unix socket."""

    def __init__(self, path: Path, timeout_s: float = 20.0) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of the host."""
        self.sock = connect(self._path, self.timeout or 20.0)

    def ask(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """Send one request; return the status and the JSON that came back."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None
        if body is not None:
            data, named["Content-Type"] = json.dumps(body), "application/json"
        self.request(method, path, data, named)
        reply = self.getresponse()
        return reply.status, json.loads(reply.read())


class Outside:
    """A daemon process. `module` and `options` say which composition, after the socket.

    `inherits` are descriptors that it is started with.
    """

    def __init__(
        self,
        directory: Path,
        module: str = "maxmemd.__main__",
        options: Iterable[str] = ("serve", "--hypervisor", "simulated"),
        inherits: Sequence[int] = (),
    ) -> None:
        self._inherits = inherits
        self.socket = directory / "m.sock"
        self.database = directory / "ledger.sqlite"
        self.log = directory / "log"
        words = [*options, "--socket", str(self.socket), "--database", str(self.database)]
        self._command = [sys.executable, "-m", module, *words]
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop()
        if kind is not None:
            print(self.log.read_text()[-4000:])

    def start(self) -> None:
        """Start the daemon and wait until it says that it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                pass_fds=self._inherits,
            )  # fmt: skip
        until("the daemon is ready", self._ready, within_s=START_WITHIN_S)

    def stop(self) -> int:
        """End the daemon as systemd does; return its exit status."""
        self.process.terminate()
        try:
            self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
        return self.process.returncode

    def open(self, timeout_s: float = 20.0) -> UnixConnection:
        """Open a connection that speaks HTTP."""
        return UnixConnection(self.socket, timeout_s)

    def raw(self, timeout_s: float = 20.0) -> socket.socket:
        """Open a connection that speaks whatever a test sends."""
        return connect(self.socket, timeout_s)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Send one request over a connection of its own; return status and body."""
        connection = self.open()
        try:
            return connection.ask(method, path, body, **headers)
        finally:
            connection.close()

    def rss_kib(self) -> int:
        """Return the daemon's resident memory in KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)

    def descriptors(self) -> int:
        """Return how many file descriptors the daemon has open."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def said(self) -> str:
        """Return the daemon's log."""
        return self.log.read_text()

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.said()
        try:
            return self.ask("GET", "/v1/health")[0] == 200
        except OSError:
            return False


def connect(path: Path, timeout_s: float) -> socket.socket:
    """Connect to a Unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout_s)
    for _ in range(200):
        try:
            sock.connect(str(path))
        except BlockingIOError:
            time.sleep(0.01)  # the queue of those who wait to be accepted is full
        except OSError:
            sock.close()
            raise
        else:
            return sock
    sock.close()
    raise TimeoutError(f"cannot connect to {path}")


def until(what: str, true: Callable[[], object], *, within_s: float = 10.0) -> float:
    """Wait until something is true; return after how many seconds. Fails at the deadline."""
    began_s = time.monotonic()
    while not true():
        assert time.monotonic() - began_s < within_s, f"not within {within_s} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began_s


def as_user(uid: int, groups: Sequence[int], asked: Callable[[], list[int]]) -> list[int]:
    """Return what `asked` returns in a child that is another user, of these groups."""
    listening, telling = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setresgid(groups[-1], groups[-1], groups[-1])
            os.setresuid(uid, uid, uid)
            os.write(telling, json.dumps(asked()).encode())
        except BaseException as error:  # noqa: BLE001 - a forked child must not go on with tests
            os.write(telling, json.dumps(repr(error)).encode())
        os._exit(0)
    os.close(telling)
    os.waitpid(child, 0)
    with os.fdopen(listening) as told:
        found: list[int] = json.loads(told.read())
    return found
