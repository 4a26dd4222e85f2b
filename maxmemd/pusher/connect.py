"""Connect to the pusher: through systemd's socket, or to a child process."""

import logging
import os
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from errno import ECONNABORTED
from pathlib import Path
from tempfile import TemporaryDirectory

from maxmemd.files import need_safe_folders
from maxmemd.units import Memory

CONNECT_WITHIN, FOR_EVER = struct.pack("ll", 0, 100_000), struct.pack("ll", 0, 0)
"""How long to wait for room among the connections that a pusher is to accept (struct timeval)."""
ENDS_WITHIN_S = 0.5
"""How long a child may take to end by itself; one that is stopped, or hangs, is killed."""
LOG = logging.getLogger("maxmemd")
SYSTEMD_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS")
"""Meant by systemd for this process, not for a child of it."""
PROGRAM = "import sys; sys.path[:0] = {path!r}; from {module} import main; sys.exit(main())"


def choose_connector(path: Path, dom0_floor: Memory) -> "SocketConnector | ChildConnector":
    """Return a connector to the socket at `path` if there is one, else to a child process.

    Raises ConfigError for a socket that another user could have put there.
    """
    if path.is_socket():
        need_safe_folders(path, f"use the pusher's socket {path}")
        return SocketConnector(path)
    LOG.info("no socket at %s: starting the pusher as a child process", path)
    return ChildConnector(dom0_floor)


class SocketConnector:
    """Connects to a socket that systemd, or another process, holds for the pusher."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def connect(self) -> socket.socket:
        """Return a new connection, on which requests wait while the pusher restarts.

        Raises OSError, BlockingIOError where it accepts none now and as many wait as may.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            # the kernel's own timeout: one of Python's would not wait for room in the queue at all
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, CONNECT_WITHIN)
            connection.connect(self._path)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, FOR_EVER)
        except OSError:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Do nothing: the socket is not ours."""


class ChildConnector:
    """Runs the pusher as a child process, and starts it again after it has ended.

    The listening socket is held here, so that requests wait in it while the child starts. The child
    ends with this process, however that ends: its standard input is a pipe from here.
    """

    def __init__(
        self, dom0_floor: Memory, program: str = "maxmemd.pusher.__main__", *arguments: str
    ) -> None:
        self._program = program
        self._arguments = ["--dom0-floor-kib", str(dom0_floor.kib), *arguments]
        self._directory = TemporaryDirectory(prefix="maxmemd-pusher-")  # of mode 0700
        self._path = Path(self._directory.name, "socket")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._listener.bind(str(self._path))
        self._listener.listen(8)
        self._lock = threading.Lock()
        self._is_closed = False
        self.process: subprocess.Popen[bytes] | None = None

    def connect(self) -> socket.socket:
        """Return a new connection to the child. Any thread may call.

        Raises OSError, BlockingIOError where it accepts none now and as many wait as may.
        """
        with self._lock:
            if self._is_closed:
                raise ConnectionAbortedError(ECONNABORTED, "maxmemd stops")
            if self.process is None or self.process.poll() is not None:
                self._stop()
                self.process = self._start()
        return SocketConnector(self._path).connect()

    def close(self) -> None:
        """End the child and wait for it."""
        with self._lock:
            self._is_closed = True
            self._stop()
        self._listener.close()
        self._directory.cleanup()

    def _start(self) -> subprocess.Popen[bytes]:
        path = [str(Path(__file__).parents[2])]
        program = PROGRAM.format(path=path, module=self._program)
        fd = self._listener.fileno()
        return subprocess.Popen(  # noqa: S603  it is our own program
            [sys.executable, "-c", program, "--fd", str(fd), *self._arguments],
            stdin=subprocess.PIPE,
            pass_fds=[fd],
            start_new_session=True,  # Ctrl-C is for this process, which then ends the child
            env={k: value for k, value in os.environ.items() if k not in SYSTEMD_VARIABLES},
        )

    def _stop(self) -> None:
        if self.process is not None:
            if self.process.stdin is not None:
                self.process.stdin.close()  # the child ends at the end of its standard input
            try:
                self.process.wait(ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                LOG.warning("the pusher does not end by itself: it is killed")
                self.process.kill()
                with suppress(subprocess.TimeoutExpired):  # a hypercall that hangs cannot be killed
                    self.process.wait(ENDS_WITHIN_S)
            self.process = None
