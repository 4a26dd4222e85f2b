"""A daemon in a process of its own: started, asked, stopped, killed, and started again."""

import http.client
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.support.http import Client
from tests.support.until import until

ROOT = Path(__file__).resolve().parents[2]
STOPS_WITHIN_S = 60.0


class DaemonProcess:
    """A daemon by its command, its socket, and the file that has its log.

    `process` is None before a start, and after a stop or a kill. With `pipes` its standard input
    and output are pipes; `inherits` are descriptors that it is started with.
    """

    def __init__(
        self, socket: Path, log: Path, *, pipes: bool = False, inherits: Sequence[int] = ()
    ) -> None:
        self.socket, self.log = socket, log
        self.process: subprocess.Popen[bytes] | None = None
        self._pipe = subprocess.PIPE if pipes else None
        self._inherits = inherits

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None and self.log.exists():
            print(self.said()[-4000:])
        self.close()

    def command(self) -> Sequence[str]:
        """Return the command that is run."""
        raise NotImplementedError

    def close(self) -> None:
        """End what was started."""
        self.kill()

    def spawn(self) -> None:
        """Start the daemon and do not wait for it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=ROOT, stdin=self._pipe, stdout=self._pipe, stderr=log,
                pass_fds=self._inherits,
            )  # fmt: skip

    def start(self) -> float:
        """Start the daemon; return after how many seconds GET /v1/health said that it is ready."""
        self.spawn()
        try:
            return until("the daemon is ready", self.is_ready, every_s=0.002)
        except BaseException:
            self.kill()
            raise

    def is_ready(self) -> bool:
        """Whether the daemon says that it is ready."""
        assert self.running.poll() is None, self.said()
        with suppress(OSError, http.client.HTTPException), Client(self.socket) as client:
            return client.ask("GET", "/v1/health").status == 200
        return False

    def stop(self) -> int:
        """End the daemon with SIGTERM, as systemd does; return its exit status."""
        self.running.terminate()
        return self.ended(STOPS_WITHIN_S)

    def kill(self) -> None:
        """Kill the daemon with SIGKILL, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.ended()

    def ended(self, within_s: float | None = None) -> int:
        """Wait until the daemon has ended; return its exit status."""
        running = self.running
        try:
            running.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            running.kill()
            running.communicate()
        self.process = None
        return running.returncode

    @property
    def running(self) -> "subprocess.Popen[bytes]":
        """The process, which was started."""
        assert self.process is not None, "the daemon was not started"
        return self.process

    def rss_kib(self) -> int:
        """Return the daemon's resident memory in KiB."""
        status = Path(f"/proc/{self.running.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)

    def descriptors(self) -> int:
        """Return how many file descriptors the daemon has open."""
        return sum(1 for _ in Path(f"/proc/{self.running.pid}/fd").iterdir())

    def said(self) -> str:
        """Return the daemon's log."""
        return self.log.read_text()
