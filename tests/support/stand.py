"""A test stand: a simulated host that survives, the daemon in its own process, and clients."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from maxmemd.policy.facts import XenFacts
from maxmemd.units import Memory
from tests.support.audit import Kept, audit, limits_of
from tests.support.simhost import SimHost

ROOT = Path(__file__).resolve().parents[2]
SOAK = os.environ.get("SOAK") == "1"
START_WITHIN_S = 60.0
"""How long a stand waits for a daemon at all; what is demanded of it the tests say."""


class Answer(dict[str, Any]):
    """A reply's JSON body, and its HTTP status."""

    status: int


class Client:
    """One kept-alive connection to the daemon's socket."""

    def __init__(self, path: Path, *, timeout_s: float = 30.0) -> None:
        self._http = http.client.HTTPConnection("localhost", timeout=timeout_s)
        self._http.sock = socket.socket(socket.AF_UNIX)
        self._http.sock.settimeout(timeout_s)
        try:
            self._http.sock.connect(str(path))
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, method: str, path: str, body: object = None, *, key: str | None = None) -> Answer:
        """Send one request and return its reply. Raises OSError or HTTPException when cut off."""
        headers = {} if key is None else {"Idempotency-Key": key}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body), "application/json"
        self._http.request(method, path, data, headers)
        reply = self._http.getresponse()
        answer = Answer(json.loads(reply.read()))
        answer.status = reply.status
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


class Stand:
    """A host with guests, and the daemon that is started, killed and started again on it."""

    def __init__(self, guests: int = 4, *, options: Sequence[str] = ()) -> None:
        self._directory = TemporaryDirectory(prefix="stand-")
        self.directory = Path(self._directory.name)
        self.socket, self.database = self.directory / "s", self.directory / "ledger.sqlite"
        self.options = list(options)
        self.before: list[str] = []
        self.serving = ["tests.support.serve"]
        self.log = self.directory / "log"
        self.host = SimHost()
        small, large = Memory.of_mib(64), Memory.of_mib(256)
        for number in range(guests):
            self.host.call("create", f"guest-{number}", memory=small, maxmem=large)
        self.uuids = [fact.uuid for fact in self.facts() if fact.domid]
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if error is not None and self.log.exists():
            print(self.log.read_text()[-4000:])
        self.kill()
        self.host.close()
        self._directory.cleanup()

    def spawn(self) -> None:
        """Start the daemon and do not wait for it."""
        words = [self.host.path, self.socket, self.database, *self.options]
        command = [*self.before, sys.executable, "-m", *self.serving, *map(str, words)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log)

    def start(self) -> float:
        """Start the daemon; return after how many seconds GET /v1/health said that it is ready."""
        began_s = time.monotonic()
        self.spawn()
        until("the daemon is ready", self.ready, within_s=START_WITHIN_S, every_s=0.002)
        return time.monotonic() - began_s

    def ready(self) -> bool:
        """Whether the daemon says that it is ready."""
        assert self.process is not None
        assert self.process.poll() is None, "the daemon ended"
        with suppress(OSError, http.client.HTTPException), Client(self.socket) as client:
            return client.ask("GET", "/v1/health").status == 200
        return False

    def kill(self) -> None:
        """Kill the daemon with SIGKILL, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> int:
        """End the daemon with SIGTERM; return its exit status."""
        assert self.process is not None
        self.process.terminate()
        status = self.process.wait(60)
        self.process = None
        return status

    def client(self) -> Client:
        """Open a connection."""
        return Client(self.socket)

    def facts(self) -> Sequence[XenFacts]:
        """Return what Xen says of every domain."""
        facts: Sequence[XenFacts] = self.host.call("xen.domains")
        return facts

    def kept(self) -> Kept:
        """Return what the ledger's file holds, audited."""
        return audit(self.database)

    def agrees(self) -> bool:
        """Whether Xen holds what the ledger says, for every domain."""
        limits = limits_of(self.database)
        return all(fact.max_pages == limits.get(fact.uuid) for fact in self.facts())


def until(
    what: str, true: Callable[[], object], *, within_s: float = 30.0, every_s: float = 0.01
) -> float:
    """Wait until something is true; return after how many seconds. Fails at the deadline."""
    began_s = time.monotonic()
    while not true():
        assert time.monotonic() - began_s < within_s, f"not within {within_s} s: {what}"
        time.sleep(every_s)
    return time.monotonic() - began_s
