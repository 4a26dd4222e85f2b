"""When the service counts as started: limits are in force, or a time has passed, loudly."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from errno import EIO
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from maxmemd.api.health import READY_WITHIN_S, notify_systemd
from maxmemd.arbiter.mailbox import Mailbox
from maxmemd.units import Memory
from tests.support.simhost import SimHost
from tests.support.until import until

ROOT = Path(__file__).parents[2]
IN_FORCE = b"READY=1\nSTATUS=Xen and the ledger were compared"
WITHIN_S = 30.0


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Give the socket on which systemd is notified."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(path))
        told.settimeout(WITHIN_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield told


def mailbox(trouble: str = "ok") -> Mailbox:
    """Return what is looked at of a mailbox."""
    fake = SimpleNamespace(first_sync=asyncio.Event(), status=SimpleNamespace(xen=trouble))
    return cast(Mailbox, fake)


def test_once_limits_are_in_force(manager: socket.socket) -> None:
    """Nothing is sent before, and READY=1 then."""

    async def play() -> None:
        box = mailbox()
        telling = asyncio.create_task(notify_systemd(box))
        await asyncio.sleep(0.05)
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(999)
        box.first_sync.set()
        await telling
        assert manager.recv(999) == IN_FORCE

    asyncio.run(play())


def test_after_a_time_whatever_is_wrong(
    manager: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    """Guests are not delayed for ever: it reports itself ready, and logs what is wrong."""

    async def play() -> None:
        box = mailbox("xen-failed: cannot\nREADY=0 ask")
        telling = asyncio.create_task(notify_systemd(box, within_s=0.05))
        told = await asyncio.to_thread(manager.recv, 999)
        assert told.startswith(b"READY=1\nSTATUS=limits are NOT in force: xen-failed: cannot READY")
        assert told.count(b"\n") == 1
        box.first_sync.set()
        await telling
        assert manager.recv(999) == IN_FORCE

    asyncio.run(play())
    (said,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert "limits are NOT in force" in said.message
    assert READY_WITHIN_S < 90, "TimeoutStartSec= of the unit must be longer"


def test_a_systemd_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot be told; the log says so."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nowhere"))
    box = mailbox()
    box.first_sync.set()
    asyncio.run(notify_systemd(box))
    assert "cannot notify systemd that the service has started" in caplog.text


@pytest.fixture
def host() -> Iterator[SimHost]:
    """Give a host with one domain that a foreign program writes to, and that cannot be read."""
    with SimHost() as sim:
        sim.call("create", "web", memory=Memory.of_mib(64))
        sim.call("fail", "domains", EIO)
        yield sim


def test_a_daemon_whose_xen_does_not_answer_yet(
    host: SimHost, manager: socket.socket, tmp_path: Path
) -> None:
    """It serves, and counts as started as soon as Xen can be compared, with polls an hour apart."""
    command = [sys.executable, "-m", "tests.support.serve", str(host.path)]
    command += [str(tmp_path / "s"), str(tmp_path / "l.sqlite"), "--poll", "3600"]
    manager.setblocking(False)
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as daemon:
        try:
            until("it answers", lambda: answers(tmp_path / "s"), within_s=WITHIN_S, every_s=0.05)
            with pytest.raises(BlockingIOError):
                manager.recv(999)
            host.call("heal")
            manager.settimeout(WITHIN_S)
            assert manager.recv(999) == IN_FORCE.replace(b"Xen", b"the simulated host")
        finally:
            os.kill(daemon.pid, signal.SIGTERM)


def answers(path: Path) -> bool:
    """Whether a daemon answers on a socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(WITHIN_S)
        try:
            client.connect(str(path))
        except OSError:
            return False
        client.sendall(b"GET /v1/health HTTP/1.1\r\nHost: maxmemd\r\n\r\n")
        return client.recv(99).startswith(b"HTTP/1.1 503")
