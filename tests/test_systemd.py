"""What systemd and the daemon say to each other, and the shipped units."""

import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maxmemd import systemd
from maxmemd.errors import ConfigError
from maxmemd.systemd import JournalHandler, Watchdog, is_journal, notify, passed_socket

UNITS = Path(__file__).parents[1] / "deploy" / "systemd"


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Give the socket on which systemd is told."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(path))
        told.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield told


def test_readiness(manager: socket.socket) -> None:
    """READY=1 arrives as one datagram."""
    notify("READY=1")
    assert manager.recv(99) == b"READY=1"


def test_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that begins with @ is an abstract name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(f"\0maxmemd-test-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@maxmemd-test-{os.getpid()}")
        notify("STOPPING=1")
        assert told.recv(99) == b"STOPPING=1"


def test_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without systemd nothing is told, and nothing fails."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    notify("READY=1")
    Watchdog().fed()


def test_the_watchdog_is_fed_in_time(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told at once, then again when a third of the time has passed."""
    now = [100.0]
    monkeypatch.setattr(systemd, "monotonic", lambda: now[0])
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    watchdog = Watchdog()
    for now[0] in (100.0, 100.5, 100.99, 101.0, 101.5):
        watchdog.fed()
    assert (manager.recv(99), manager.recv(99)) == (b"WATCHDOG=1", b"WATCHDOG=1")
    with pytest.raises(BlockingIOError):
        manager.recv(99)


def test_the_watchdog_of_another_process(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watchdog that is meant for another process is not fed."""
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    Watchdog().fed()
    with pytest.raises(BlockingIOError):
        manager.recv(99)


TAKES = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=sys.argv[2])
from maxmemd.systemd import passed_socket
sock = passed_socket()
print(sock.getsockname(), sock.get_inheritable(), passed_socket())
"""


def taken(passed: socket.socket, count: str = "1") -> "subprocess.CompletedProcess[str]":
    """Run a process to which a socket is passed as systemd does it."""
    fd = passed.fileno()
    command = [sys.executable, "-c", TAKES, str(fd), count]
    return subprocess.run(command, pass_fds=[fd], capture_output=True, text=True, check=False)


def test_a_passed_socket(tmp_path: Path) -> None:
    """The socket is taken once, and no child of the daemon inherits it."""
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(str(tmp_path / "s"))
        passed.listen()
        assert taken(passed).stdout == f"{tmp_path / 's'} False None\n"


@pytest.mark.parametrize("wrong", ["two", "none that listens", "TCP"])
def test_a_socket_that_cannot_be_meant(tmp_path: Path, wrong: str) -> None:
    """Several sockets, one that does not listen, or a TCP one: a clear sentence."""
    kind = socket.AF_INET if wrong == "TCP" else socket.AF_UNIX
    with socket.socket(kind) as passed:
        if wrong == "two":
            passed.bind(str(tmp_path / "s"))
        if wrong == "TCP":
            passed.bind(("127.0.0.1", 0))
        if wrong != "none that listens":
            passed.listen()
        said = taken(passed, "2" if wrong == "two" else "1").stderr
    assert re.search(r"ConfigError: cannot (take 2 sockets|use systemd's socket)", said)


def test_sockets_of_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was passed to our parent is not ours."""
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert passed_socket() is None
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "0")
    with pytest.raises(ConfigError, match="cannot take 0 sockets"):
        passed_socket()


def test_a_line_in_the_journal(tmp_path: Path) -> None:
    """A record becomes fields, each with its length, so that lines in it stay one value."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "j"))
        handler = JournalHandler(str(tmp_path / "j"))
        logger = logging.getLogger("maxmemd.test_systemd")
        logger.propagate = False
        logger.addHandler(handler)
        logger.warning("refused\nPRIORITY=0", extra={"fields": {"uid": 1000}})
        data = journal.recv(9999)
        logger.removeHandler(handler)
        handler.close()
    found = {}
    while data:
        name, _, rest = data.partition(b"\n")
        size = int.from_bytes(rest[:8], "little")
        found[name.decode()], data = rest[8 : 8 + size].decode(), rest[9 + size :]
    assert found == {
        "MESSAGE": "refused\nPRIORITY=0",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "maxmemd",
        "LOGGER": "maxmemd.test_systemd",
        "MAXMEM_UID": "1000",
    }


def test_a_journal_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the journal does not answer the line goes to stderr, and the daemon goes on."""
    handler = JournalHandler(str(tmp_path / "nowhere"))
    handler.handle(logging.LogRecord("maxmemd", logging.INFO, "", 0, "a line", None, None))
    handler.close()
    assert "a line" in capsys.readouterr().err


def test_whether_stderr_is_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manager says which device and inode lead there."""
    with (tmp_path / "stream").open("wb") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert is_journal(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", "1:1")
        assert not is_journal(stream.fileno())


@pytest.mark.needs("systemd")
def test_the_service_is_hardened() -> None:
    """Little is exposed: 1.0 or better, as a service that owns privcmd should be."""
    unit = str(UNITS / "maxmemd.service")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", unit]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    score = re.search(r"Overall exposure level for maxmemd\.service: (\d+\.\d)", said)
    assert score is not None, said
    assert float(score[1]) <= 1.0
