"""One request and its reply: restarts, silence, and what is no daemon."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maxmemd.cli import connection, main

from .bodies import HOST, decision
from .conftest import Ctl
from .stub import DROP, Stub

LIMIT = "PUT /v1/domains/3/limit"
HINT = "(is it running? systemctl status maxmemd, or start it: maxmemd serve)"


class Clock:
    """Time that passes only while somebody sleeps; `then` happens at each sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.then: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        """Pass the time."""
        self.now += seconds
        self.then()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock that waiting goes by."""
    made = Clock()
    monkeypatch.setattr(connection, "sleep", made.sleep)
    monkeypatch.setattr(connection, "monotonic", lambda: made.now)
    return made


def test_a_lost_write_is_sent_again_with_its_key(ctl: Ctl, stub: Stub) -> None:
    """The daemon restarted between request and reply: the second time is told apart by nothing."""
    stub.replies = {LIMIT: [DROP, (200, decision())]}
    assert ctl("mem-max", "3", "512") == (0, "", "")
    assert stub.seen[0] == stub.seen[1]
    assert stub.headers[0] == stub.headers[1]


def test_twice_lost_is_told(ctl: Ctl, stub: Stub) -> None:
    """There is no third time."""
    stub.replies = {LIMIT: DROP}
    status, out, err = ctl("mem-max", "3", "512")
    assert (status, out, len(stub.seen), err.count("\n")) == (1, "", 2, 1)
    assert "the connection was lost twice" in err


def test_a_write_waits_for_a_daemon_that_restarts(
    clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The socket appears while the write waits, and it goes through."""
    path = str(tmp_path / "s")
    begun: list[Stub] = []

    def begin() -> None:
        begun.append(Stub(path))
        begun[0].replies = {LIMIT: (200, decision())}
        clock.then = lambda: None

    clock.then = begin
    assert main(["--socket", path, "mem-max", "3", "512"]) == 0
    assert capsys.readouterr() == ("", "")
    begun[0].end()


def test_a_write_waits_three_seconds_and_no_longer(
    clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Then one line names the socket and what to do."""
    path = tmp_path / "none"
    assert main(["--socket", str(path), "mem-max", "3", "512"]) == 1
    said = f"maxmemctl: cannot reach maxmemd at {path}: No such file or directory {HINT}\n"
    assert capsys.readouterr() == ("", said)
    assert clock.now == pytest.approx(3, abs=0.1)


def test_a_read_does_not_wait(
    clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A socket that nobody listens on is told at once."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert main(["--socket", path, "list"]) == 1
    assert capsys.readouterr().err.endswith(f": Connection refused {HINT}\n")
    assert clock.now == 0


def test_a_read_waits_for_a_busy_daemon(
    clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full backlog is no refusal: it is waited for, and for three seconds only."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(path)
        busy.listen(0)
        first.connect(path)
        assert main(["--socket", path, "list"]) == 1
    assert "Resource temporarily unavailable" in capsys.readouterr().err
    assert clock.now == pytest.approx(3, abs=0.1)


def test_no_permission_is_told_with_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The operating system said EACCES."""

    class Closed(socket.socket):
        def connect(self, address: Any) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("maxmemd.cli.connection.socket.socket", Closed)
    assert main(["--socket", "/s", "mem-max", "3", "1"]) == 1
    assert capsys.readouterr().err == (
        "maxmemctl: cannot reach maxmemd at /s: Permission denied"
        " (run this as root or as a member of the socket's group)\n"
    )


def test_silence_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No reply in time: the write may have happened, and is not sent again."""
    monkeypatch.setattr(connection, "REPLY_S", 0.0)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(path)
        mute.listen(4)
        monkeypatch.setattr(
            "maxmemd.cli.connection.socket.socket.settimeout", _at_least_a_millisecond
        )
        with pytest.raises(connection.Unreachable, match="within 0 s: whether a change was made"):
            connection.Server(path).ask("PUT", "/v1/x", {})


_settimeout = socket.socket.settimeout


def _at_least_a_millisecond(self: socket.socket, seconds: float | None) -> None:
    _settimeout(self, max(0.001, seconds or 0))


@pytest.mark.parametrize(
    ("raw", "times", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", 1, "is it maxmemd that listens there."),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", 2, "the connection was lost twice"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", 2, "the connection was lost twice"),
        (b"220 mail ready\r\n", 2, "the connection was lost twice"),
        (b"", 2, "the connection was lost twice"),
    ],
)
def test_what_is_no_reply(raw: bytes, times: int, said: str, tmp_path: Path) -> None:
    """A reply that is cut short, or is none of ours, is told in one line."""
    path = str(tmp_path / "s")

    def serve(listener: socket.socket) -> None:
        for _ in range(times):
            link, _ = listener.accept()
            with link:
                link.recv(4096)
                link.sendall(raw)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(4)
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        with pytest.raises(connection.Unreachable, match=said):
            connection.Server(path).ask("GET", "/v1/host")
        thread.join(5)


def test_a_reply_in_pieces(tmp_path: Path) -> None:
    """Header and body may come byte by byte."""
    path = str(tmp_path / "s")

    def serve(listener: socket.socket) -> None:
        link, _ = listener.accept()
        with link:
            link.recv(4096)
            for byte in b'HTTP/1.1 201 Made\r\nContent-length:8\r\nX: y\r\n\r\n{"a": 1}':
                link.sendall(bytes([byte]))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(4)
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        answer = connection.Server(path).ask("GET", "/v1/host")
    assert (answer.status, answer.body) == (201, {"a": 1})


def test_over_a_url(capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon elsewhere is asked through http.client, with the same retry."""
    from http.server import ThreadingHTTPServer

    from .stub import Handler

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told: Any = server
        told.replies = {"GET /v1/host": [DROP, (200, HOST)]}
        told.seen, told.headers = [], []
        told.reply_to = lambda request: Stub.reply_to(told, request)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        assert main(["--url", url, "info", "total_memory"]) == 0
        server.shutdown()
    assert capsys.readouterr().out == "8190\n"


@pytest.mark.parametrize("url", ["ftp://host", "host", "http://", "http://127.0.0.1:1"])
def test_a_url_that_leads_nowhere(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says which."""
    assert main(["--url", url, "list"]) == 1
    err = capsys.readouterr().err
    assert (err.count("\n"), url in err) == (1, True)
