"""What systemd and the daemon say to each other, and the shipped units."""

import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from maxmemd import systemd
from maxmemd.arbiter import mailbox, thread
from maxmemd.client import transport
from maxmemd.config.settings import DEFAULT_DEVICE_MODEL_SOCKET
from maxmemd.errors import ConfigError
from maxmemd.pusher import client
from maxmemd.rest import retry
from maxmemd.systemd import (
    DEVICE_MODELS,
    JournalHandler,
    Watchdog,
    ask_for_time,
    is_journal,
    notify,
    passed_sockets,
)
from tests.support.figures import figure

UNITS = Path(__file__).parents[1] / "deploy" / "systemd"


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Give the socket on which systemd is notified."""
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


def test_a_stop_asks_for_time(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In microseconds; where systemd cannot be reached the stop goes on."""
    ask_for_time(1.5)
    assert manager.recv(99) == b"EXTEND_TIMEOUT_USEC=1500000\nWATCHDOG=1"
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/notify")
    ask_for_time(1.5)
    assert "cannot ask systemd for more time" in caplog.text


def test_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that begins with @ is an abstract name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(f"\0maxmemd-test-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@maxmemd-test-{os.getpid()}")
        notify("STOPPING=1")
        assert told.recv(99) == b"STOPPING=1"


def test_without_systemd_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without systemd nothing is sent, and nothing fails."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    notify("READY=1")
    Watchdog().feed()


def test_the_watchdog_is_fed_in_time(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent at once, then again when a tenth of the time has passed."""
    now = [100.0]
    monkeypatch.setattr(systemd, "monotonic", lambda: now[0])
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    watchdog = Watchdog()
    for now[0] in (100.0, 100.5, 100.99, 101.0, 101.5):
        watchdog.feed()
    assert (manager.recv(99), manager.recv(99)) == (b"WATCHDOG=1", b"WATCHDOG=1")
    with pytest.raises(BlockingIOError):
        manager.recv(99)


def test_the_watchdog_of_another_process(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watchdog that is meant for another process is not fed."""
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    Watchdog().feed()
    with pytest.raises(BlockingIOError):
        manager.recv(99)


def test_a_watchdog_whose_socket_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once while it lasts, and again the next time; the thread continues."""
    now = [100.0]
    monkeypatch.setattr(systemd, "monotonic", lambda: now[0])
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    watchdog = Watchdog()

    def feed() -> int:
        now[0] += 1.0
        watchdog.feed()
        return caplog.text.count("cannot send a keep-alive to systemd: ")

    assert (feed(), feed()) == (1, 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        assert feed() == 1
        assert told.recv(99) == b"WATCHDOG=1"
    assert feed() == 2


TAKES = """
import fcntl, os, sys
high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in sys.argv[3:]]
for place, fd in enumerate(high):
    os.dup2(fd, 3 + place)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=sys.argv[1], LISTEN_FDNAMES=sys.argv[2])
from maxmemd.systemd import passed_sockets
for sock in passed_sockets():
    print(sock and (sock.getsockname(), sock.get_inheritable()))
print(passed_sockets(), [name for name in os.environ if name.startswith("LISTEN_")])
"""


def taken(
    *passed: socket.socket, count: str = "", names: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run a process to which sockets are passed as systemd does it."""
    fds = [sock.fileno() for sock in passed]
    command = [sys.executable, "-c", TAKES, count or str(len(fds)), names, *map(str, fds)]
    return subprocess.run(command, pass_fds=fds, capture_output=True, text=True, check=False)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[list[socket.socket]]:
    """Give two listening sockets, `one` and `two`."""
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        for sock, name in ((one, "one"), (two, "two")):
            sock.bind(str(tmp_path / name))
            sock.listen()
        yield [one, two]


@pytest.mark.parametrize("names", ["", "maxmemd.socket", "anything"])
def test_a_passed_socket(tmp_path: Path, held: list[socket.socket], names: str) -> None:
    """The socket is taken once, and no child of the daemon inherits it."""
    expected = f"({str(tmp_path / 'one')!r}, False)\nNone\nNone []\n"
    assert taken(held[0], names=names).stdout == expected


@pytest.mark.parametrize(
    ("names", "places"),
    [
        ("maxmemd.socket:device-model", ("one", "two")),
        ("device-model:maxmemd.socket", ("two", "one")),
    ],
)
def test_two_passed_sockets(
    tmp_path: Path, held: list[socket.socket], names: str, places: tuple[str, str]
) -> None:
    """Sockets are told apart by their units' names, in any order."""
    expected = [f"({str(tmp_path / name)!r}, False)" for name in places]
    assert taken(*held, names=names).stdout.splitlines() == [*expected, "None []"]


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (1, "device-model"),
        (2, ""),
        (2, "maxmemd.socket:maxmemd.socket"),
        (2, "maxmemd.socket:Device-Model"),
        (2, "device-model:device-model"),
        (2, "maxmemd.socket"),
    ],
)
def test_sockets_that_cannot_be_told_apart(
    held: list[socket.socket], count: int, names: str
) -> None:
    """Two of one kind, none of the other, or no names: no socket is served by guessing."""
    done = taken(*held[:count], names=names)
    assert done.returncode == 1
    assert (
        f"ConfigError: cannot take {count} sockets from systemd ({names or 'without names'})"
        in (done.stderr)
    )


def test_too_many_sockets(held: list[socket.socket]) -> None:
    """A third one has no meaning."""
    done = taken(*held, held[0], names="maxmemd.socket:device-model:other")
    assert "ConfigError: cannot take 3 sockets" in done.stderr


@pytest.mark.parametrize("wrong", ["none that listens", "TCP"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_socket_that_cannot_be_meant(held: list[socket.socket], wrong: str, place: int) -> None:
    """One that does not listen, or a TCP one, in either's place: a clear sentence."""
    kind = socket.AF_INET if wrong == "TCP" else socket.AF_UNIX
    with socket.socket(kind) as passed:
        if wrong == "TCP":
            passed.bind(("127.0.0.1", 0))
            passed.listen()
        held.insert(place, passed)
        said = taken(*held[:2], names="maxmemd.socket:device-model").stderr
    assert "ConfigError: cannot use systemd's socket" in said


def test_sockets_of_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was passed to our parent is not ours."""
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert passed_sockets() is None
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "0")
    with pytest.raises(ConfigError, match="cannot take 0 sockets"):
        passed_sockets()


def test_the_units_of_the_sockets() -> None:
    """Both belong to the one service, which needs the first; the second has the name it goes by."""
    service = (UNITS / "maxmemd.service").read_text()
    assert "Requires=maxmemd.socket maxmemd-pusher.socket\n" in service
    assert "After=maxmemd.socket maxmemd-device-model.socket " in service
    assert "Also=maxmemd.socket maxmemd-device-model.socket\n" in service
    unit = (UNITS / "maxmemd-device-model.socket").read_text().splitlines()
    for line in (
        "Service=maxmemd.service",
        f"FileDescriptorName={DEVICE_MODELS}",
        f"ListenStream={DEFAULT_DEVICE_MODEL_SOCKET}",
        "SocketMode=0666",
        "DirectoryMode=0700",
        "WantedBy=sockets.target maxmemd.service",
    ):
        assert line in unit


def test_no_unit_starts_what_may_be_disabled() -> None:
    """A service brings only what it cannot be without; the rest comes where it is enabled."""
    for shipped in UNITS.glob("maxmemd*"):
        assert "\nWants=" not in shipped.read_text(), shipped.name


def test_who_waits_how_long() -> None:
    """A pusher that hangs is killed before the daemon gives up, and that before it is killed too.

    A thread that hangs was last heard of two seconds ago at most (a tenth of WatchdogSec=, and its
    idle turn), and give_up() may come a second late. Clients outlast kill and start.
    """
    pusher_s, daemon_s = (
        float(re.findall(r"^WatchdogSec=(\d+)$", (UNITS / name).read_text(), re.MULTILINE)[0])
        for name in ("maxmemd-pusher.service", "maxmemd.service")
    )
    told_s = mailbox.ANSWER_WITHIN_S + 1
    assert pusher_s < mailbox.ANSWER_WITHIN_S
    assert pusher_s < client.REPLY_WITHIN_S < daemon_s
    assert told_s <= daemon_s - daemon_s / 10 - thread.IDLE_S
    source = (UNITS.parent / "interpose" / "daemon.c").read_text()
    assert told_s < float(re.findall(r"REPLY_LEAST_MS (\d+)", source)[0]) / 1000
    defaults = (UNITS.parent / "interpose" / "interpose.conf").read_text()
    busy_s = float(re.findall(r"#busy_ms = (\d+)", defaults)[0]) / 1000
    wait_s = float(re.findall(r"#wait_ms = (\d+)", defaults)[0]) / 1000
    notice_s = float(re.findall(r"SILENT_MS (\d+)", source)[0]) / 1000
    assert retry.RETRY_S == busy_s >= 3 * daemon_s
    assert retry.REPLY_S == transport.TIMEOUT.read > busy_s + told_s
    assert (wait_s, notice_s) == (retry.CONNECT_S, retry.NOTICE_S)
    assert transport.TIMEOUT.connect == retry.CONNECT_S


@pytest.mark.needs("systemd")
def test_the_units_can_be_used(tmp_path: Path) -> None:
    """Of no unit that is shipped systemd has anything to say."""
    for shipped in (*UNITS.glob("*.service"), *UNITS.glob("*.socket")):
        text = re.sub(r"/usr/sbin/maxmemd\S*", "/bin/true", shipped.read_text())
        (tmp_path / shipped.name).write_text(text)
    units = sorted(map(str, tmp_path.iterdir()))
    command = ["systemd-analyze", "verify", "--man=no", *units]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not [line for line in done.stderr.splitlines() if "maxmemd" in line]


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


def test_a_journal_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line waits a little, none behind it; the next that is taken says how many are lost."""

    def line(text: str) -> logging.LogRecord:
        return logging.LogRecord("maxmemd", logging.INFO, "", 0, text, None, None)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "j"))
        handler = JournalHandler(str(tmp_path / "j"))
        while not handler._lost:
            handler.handle(line("taken"))
        monkeypatch.setattr(systemd, "JOURNAL_WITHIN_S", 3600.0)
        for _ in range(1000):
            handler.handle(line("lost"))
        journal.setblocking(False)
        with suppress(BlockingIOError):
            while found := journal.recv(9999):
                assert b"taken" in found
        for text in ("told", "as ever"):
            handler.handle(line(text))
        assert b"MAXMEM_LOST\n\4\0\0\0\0\0\0\x001001" in journal.recv(9999)
        assert b"MAXMEM_LOST" not in journal.recv(9999)
        handler.close()


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
@pytest.mark.parametrize(
    ("files", "most"),
    [
        (["maxmemd.service"], 1.0),
        (["maxmemd-pusher.service"], 1.0),
        (["maxmemd-relay.service"], 1.0),
        (["maxmemd.service", "tcp.conf"], 2.0),
    ],
    ids=["daemon", "pusher", "relay", "with TCP"],
)
def test_the_services_are_hardened(files: list[str], most: float, tmp_path: Path) -> None:
    """Little is exposed: 1.0 or better, and 2.0 where the daemon listens on TCP."""
    unit = tmp_path / files[0]
    unit.write_text("\n".join((UNITS / name).read_text() for name in files), encoding="utf-8")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    score = re.search(r"Overall exposure level for \S+: (\d+\.\d)", said)
    assert score is not None, said
    figure("systemd-analyze security", " + ".join(files), score[1])
    assert float(score[1]) <= most


def test_the_relay_has_no_device() -> None:
    """It needs two sockets and nothing else, and is restarted however it ends."""
    text = (UNITS / "maxmemd-relay.service").read_text(encoding="utf-8")
    lines = set(text.splitlines())
    wanted = {"DevicePolicy=closed", "PrivateDevices=yes", "Restart=always", "Type=notify"}
    assert wanted <= lines
    assert not any(line.startswith("DeviceAllow") for line in lines)
