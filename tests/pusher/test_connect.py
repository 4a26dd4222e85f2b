"""How each side finds the other: as a child, or by systemd's socket."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maxmemd.pusher import connect
from maxmemd.pusher.client import PusherClient
from maxmemd.pusher.connect import ChildConnector, SocketConnector, choose_connector
from tests.pusher.orders import FLOOR, ROOT, SERVE, WITHIN_S
from tests.support.simhost import SimHost
from tests.support.until import until


@pytest.mark.long
def test_it_ends_with_the_arbiter(sim: SimHost, tmp_path: Path) -> None:
    """However the arbiter dies, its child goes."""
    told = tmp_path / "pid"
    source = (
        "import os, sys, pathlib\n"
        "from maxmemd.pusher.client import PusherClient\n"
        "from maxmemd.pusher.connect import ChildConnector\n"
        "from maxmemd.units import Memory\n"
        f"child = ChildConnector(Memory(kib=4), {SERVE!r}, '--host', sys.argv[1])\n"
        "PusherClient(child).domains()\n"
        "pathlib.Path(sys.argv[2]).write_text(str(child.process.pid))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", source, str(sim.path), str(told)], cwd=ROOT, check=False)
    pid = int(told.read_text())

    def has_ended() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    until("it has ended", has_ended, within_s=WITHIN_S)


def test_systemds_socket(sim: SimHost, tmp_path: Path) -> None:
    """With a listening socket passed as systemd does, it serves; without one it says what to do."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(4)
        source = (
            "import os, sys\n"
            "fd = int(sys.argv.pop(1))\n"
            "os.dup2(fd, 3)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
            f"from {SERVE} import main\n"
            "sys.exit(main())\n"
        )
        fd = listener.fileno()
        command = [sys.executable, "-c", source, str(fd), "--host", str(sim.path)]
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=[fd])
        way = choose_connector(path, FLOOR)
        assert isinstance(way, SocketConnector)
        pusher = PusherClient(way, patience_s=WITHIN_S)
        assert [seen.domid for seen in pusher.domains()] == [0, 1]
        pusher.close()
        process.terminate()
        process.wait()
    ended = subprocess.run(
        [sys.executable, "-m", "maxmemd.pusher"], cwd=ROOT, check=False, capture_output=True
    )
    assert ended.returncode == 2
    assert b"systemctl start maxmemd-pusher" in ended.stderr
    child = choose_connector(tmp_path / "none", FLOOR)
    assert isinstance(child, ChildConnector)
    child.close()


def test_a_pusher_that_accepts_nothing_is_not_waited_for(tmp_path: Path) -> None:
    """Where as many connections wait as may, the next one fails: it does not block its thread."""
    path = tmp_path / "full"
    way = SocketConnector(path)
    with socket.socket(socket.AF_UNIX) as listener, filled(listener, path, way):
        with pytest.raises(BlockingIOError):
            way.connect()
        listener.accept()[0].close()
        way.connect().close()


@contextmanager
def filled(listener: socket.socket, path: Path, way: SocketConnector) -> Iterator[None]:
    """Let a socket listen for one connection, and use that up."""
    listener.bind(str(path))
    listener.listen(0)
    with way.connect():
        yield


@pytest.mark.parametrize("number", [0, signal.SIGSTOP])
def test_a_child_ends_whatever_it_does(
    sim: SimHost, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that stands still is killed; and a connector that was closed starts none."""
    if number == 0:
        monkeypatch.setattr(connect, "ENDS_WITHIN_S", WITHIN_S)  # a busy machine ends nothing soon
    way = ChildConnector(FLOOR, SERVE, "--host", str(sim.path))
    pusher = PusherClient(way, patience_s=WITHIN_S)
    assert pusher.domains()
    assert way.process is not None
    process = way.process
    process.send_signal(number)
    pusher.close()
    assert process.returncode == (0 if number == 0 else -signal.SIGKILL)
    with pytest.raises(ConnectionAbortedError):
        way.connect()
    assert way.process is None


def test_a_child_that_cannot_be_killed_is_left(
    sim: SimHost, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a hypercall that hangs not even SIGKILL ends it: closing goes on without it."""
    way = ChildConnector(FLOOR, SERVE, "--host", str(sim.path))
    pusher = PusherClient(way, patience_s=WITHIN_S)
    assert pusher.domains()
    assert way.process is not None
    process = way.process
    process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(process, "kill", lambda: None)
    monkeypatch.setattr(connect, "ENDS_WITHIN_S", 0.01)
    pusher.close()
    assert "it is killed" in caplog.text
    assert process.poll() is None
    monkeypatch.undo()
    process.kill()
    process.wait()
