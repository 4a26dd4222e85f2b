"""Connect to the pusher: through systemd's socket, or to a child process."""

import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from maxmemd.units import Memory

LOG = logging.getLogger("maxmemd")
SYSTEMD_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS")
"""Meant by systemd for this process, not for a child of it."""
PROGRAM = "import sys; sys.path[:0] = {path!r}; from {module} import main; sys.exit(main())"


def choose_connector(path: Path, dom0_floor: Memory) -> "SocketConnector | ChildConnector":
    """Return a connector to the socket at `path` if there is one, else to a child process."""
    if path.is_socket():
        return SocketConnector(path)
    LOG.info("no socket at %s: starting the pusher as a child process", path)
    return ChildConnector(dom0_floor)


class SocketConnector:
    """Connects to a socket that systemd, or another process, holds for the pusher."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def connect(self) -> socket.socket:
        """Return a new connection, on which requests wait while the pusher restarts.

        Raises OSError.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.connect(self._path)
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
        self.process: subprocess.Popen[bytes] | None = None

    def connect(self) -> socket.socket:
        """Return a new connection to the child. Any thread may call. Raises OSError."""
        with self._lock:
            if self.process is None or self.process.poll() is not None:
                self._stop()
                self.process = self._start()
        return SocketConnector(self._path).connect()

    def close(self) -> None:
        """End the child and wait for it."""
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
            self.process.wait()
            self.process = None
