"""How each side finds the other: as a child, or by systemd's socket."""

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from maxmemd.pusher.client import PusherClient
from maxmemd.pusher.connect import ChildConnector, SocketConnector, choose_connector
from tests.pusher.orders import FLOOR, ROOT, SERVE, WITHIN_S
from tests.support.simhost import SimHost


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
    until_s = time.monotonic() + WITHIN_S
    with suppress(ProcessLookupError):
        while time.monotonic() < until_s:
            os.kill(pid, 0)
            time.sleep(0.05)
        pytest.fail("it lives on")


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
