"""systemd's part: it holds the socket, takes the watchdog's messages, kills, and restarts."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Self

from tests.support.process import ROOT
from tests.support.stand import Stand

LIMIT_S = 3.0
"""WatchdogSec; the unit has 10."""
TAKES = """
import os, runpy, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
sys.argv[1:] = sys.argv[2:]
runpy.run_module("tests.support.serve", run_name="__main__")
"""


class Watched(Stand):
    """A stand whose daemon is a service; the host's faults are healed with every kill."""

    def __init__(self, guests: int) -> None:
        super().__init__(guests, options=["--answer-within", "1"])
        self.kills = 0
        self.environment: Mapping[str, str] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket))
        self._listener.listen(64)
        self._told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._told.bind(str(self.directory / "notify"))
        self._told.settimeout(0.1)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self.start()
        self._thread.start()
        return self

    def __exit__(self, *of: object) -> None:
        self._ends.set()
        self._thread.join()
        super().__exit__(*of)  # type: ignore[arg-type]
        self._listener.close()
        self._told.close()

    def spawn(self) -> None:
        """Start the daemon with the socket that is held for it."""
        fd = self._listener.fileno()
        words = [fd, self.host.path, self.socket, self.database, *self.options]
        environment = {
            **os.environ,
            **self.environment,
            "NOTIFY_SOCKET": str(self.directory / "notify"),
            "WATCHDOG_USEC": str(int(LIMIT_S * 1e6)),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", TAKES, *map(str, words)],
                cwd=ROOT,
                stderr=log,
                env=environment,
                pass_fds=[fd],
            )

    def _watch(self) -> None:
        """Kill the daemon when it has not been heard of for LIMIT_S, and restart it."""
        heard_s = time.monotonic()
        while not self._ends.is_set():
            try:
                said = self._told.recv(99)
            except TimeoutError:
                said = b""
            if said in (b"WATCHDOG=1", b"READY=1"):
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s > LIMIT_S and self.process is not None:
                self.kill()
                self.kills += 1
                self.host.call("heal")
                self.spawn()
                heard_s = time.monotonic() + 60.0  # TimeoutStartSec
