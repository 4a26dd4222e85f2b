"""The ways to the process that pushes: systemd's socket, or else a child of its own."""

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
SYSTEMDS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS")
"""What systemd says to this process, and not to a child of it."""
PROGRAM = "import sys; sys.path[:0] = {path!r}; from {module} import main; sys.exit(main())"


def connector_for(path: Path, dom0_floor: Memory) -> "SocketConnector | ChildConnector":
    """Return the way: the socket at `path` where there is one, else a child."""
    if path.is_socket():
        return SocketConnector(path)
    LOG.info("no socket at %s: the process that pushes to Xen is a child of this one", path)
    return ChildConnector(dom0_floor)


class SocketConnector:
    """A socket that somebody else, such as systemd, holds for the process that pushes."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def connect(self) -> socket.socket:
        """Return a new connection; while the process is started anew it waits. Raises OSError."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Do nothing: it stays for others."""


class ChildConnector:
    """The process that pushes, started when it is needed, and again when it has ended.

    Its listening socket is held here, so that what is asked while it starts waits. It ends when
    this process does, however that ends: its standard input is a pipe from here.
    """

    def __init__(
        self, dom0_floor: Memory, program: str = "maxmemd.pusher.__main__", *words: str
    ) -> None:
        self._program, self._words = program, ["--dom0-floor-kib", str(dom0_floor.kib), *words]
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
                self._end()
                self.process = self._start()
        return SocketConnector(self._path).connect()

    def close(self) -> None:
        """End the child and wait for it."""
        self._end()
        self._listener.close()
        self._directory.cleanup()

    def _start(self) -> subprocess.Popen[bytes]:
        path = [str(Path(__file__).parents[2])]
        program = PROGRAM.format(path=path, module=self._program)
        fd = self._listener.fileno()
        return subprocess.Popen(  # noqa: S603  it is our own program
            [sys.executable, "-c", program, "--fd", str(fd), *self._words],
            stdin=subprocess.PIPE,
            pass_fds=[fd],
            start_new_session=True,  # a terminal's ^C is for this process, which ends that one
            env={name: value for name, value in os.environ.items() if name not in SYSTEMDS},
        )

    def _end(self) -> None:
        """Close the child's standard input, at whose end it goes."""
        if self.process is not None:
            if self.process.stdin is not None:
                self.process.stdin.close()
            self.process.wait()
            self.process = None
