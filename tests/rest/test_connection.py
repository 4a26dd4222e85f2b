"""One request and its reply: restarts, silence, and what is no daemon."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maxmemd.cli import main
from maxmemd.rest import connection, retry
from tests.cli.conftest import Ctl
from tests.support.bodies import BUSY, HOST, decision
from tests.support.stub import DROP, Stub

LIMIT = "PUT /v1/domains/3/limit"
HINT = "(is it running? systemctl status maxmemd, or start it: maxmemd serve)"


class Clock:
    """Time that passes only during a sleep; `then` happens at each sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.then: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        """Pass the time."""
        self.now += seconds
        self.then()

    def pass_more(self, seconds: float) -> None:
        """Let a sleep have taken longer."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock that waiting goes by."""
    made = Clock()
    for module in (connection, retry):
        monkeypatch.setattr(module, "sleep", made.sleep)
        monkeypatch.setattr(module, "monotonic", lambda: made.now)
    return made


@pytest.fixture
def patient(
    stub: Stub, clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Ctl:
    """Run maxmemctl as it is, on that clock."""
    monkeypatch.setenv("MAXMEM_SOCKET", str(stub.server_address))

    def run(*words: str) -> tuple[int, str, str]:
        status = main(list(words))
        out, err = capsys.readouterr()
        return status, out, err

    return run


WORDS = ("mem-max", "3", "512")
TROUBLE = pytest.mark.parametrize("trouble", [DROP, BUSY], ids=["lost", "busy"])


@TROUBLE
def test_trouble_that_passes(patient: Ctl, stub: Stub, trouble: Any) -> None:
    """The daemon restarted, or hung: the same request, told apart by nothing, until it answers."""
    stub.replies = {LIMIT: [trouble, trouble, DROP, BUSY, (200, decision())]}
    assert patient(*WORDS) == (0, "", "")
    assert len(stub.seen) == 5
    assert all(each == stub.seen[0] for each in stub.seen)
    assert all(each == stub.headers[0] for each in stub.headers)
    assert "idempotency-key" in stub.headers[0]


@TROUBLE
def test_a_read_survives_too(patient: Ctl, stub: Stub, trouble: Any) -> None:
    """What only asks is asked again as well, with no key."""
    stub.replies = {"GET /v1/host": [trouble, (200, HOST)]}
    assert patient("info", "total_memory") == (0, "8190\n", "")
    assert "idempotency-key" not in stub.headers[0]


@TROUBLE
def test_trouble_that_stays(patient: Ctl, clock: Clock, stub: Stub, trouble: Any) -> None:
    """For thirty seconds and no longer; after three seconds one line says what it waits for."""
    stub.replies = {LIMIT: trouble}
    status, _, err = patient(*WORDS)
    assert status == 1
    assert clock.now == pytest.approx(30, abs=0.2)
    assert err.count("waiting for maxmemd at") == 1
    said = "the connection was lost, and 30 s" if trouble == DROP else "the queue is full"
    assert said in err
    assert ("maxmemctl history 3" in err) == (trouble == BUSY)


def test_a_wait_is_said_after_three_seconds(patient: Ctl, clock: Clock, stub: Stub) -> None:
    """What takes less is not worth a word."""
    said: list[float] = []
    stub.replies = {LIMIT: [BUSY] * 40 + [(200, decision())]}
    clock.then = lambda: said.append(clock.now)
    status, out, err = patient(*WORDS)
    assert (status, out) == (0, "")
    assert err == f"maxmemctl: waiting for maxmemd at {stub.server_address}: it is busy\n"
    assert said[-1] == pytest.approx(4)


def test_other_trouble_is_an_answer(patient: Ctl, stub: Stub) -> None:
    """No other 503 is asked again: nothing that waiting helps."""
    stub.replies = {LIMIT: (503, {"code": "xen-failed", "detail": "cannot: EIO"})}
    assert patient(*WORDS)[0] == 1
    assert len(stub.seen) == 1


def test_one_that_goes_while_it_is_asked(patient: Ctl, clock: Clock, stub: Stub) -> None:
    """If the daemon no longer listens after trouble, that is trouble too, for a read as well."""
    stub.replies = {"GET /v1/host": DROP}
    path = Path(str(stub.server_address))

    def come_and_go() -> None:
        if clock.now < 5:
            path.rename(path.with_suffix(".away"))
            clock.then = lambda: clock.now > 5 and come_back()

    def come_back() -> None:
        path.with_suffix(".away").rename(path)
        stub.replies = {"GET /v1/host": (200, HOST)}
        clock.then = lambda: None

    clock.then = come_and_go
    status, out, err = patient("info", "total_memory")
    assert (status, out) == (0, "8190\n")
    assert err.endswith(": it is away\n")


def test_one_that_never_comes_back(patient: Ctl, clock: Clock, stub: Stub) -> None:
    """After a lost connection and then none, it does not claim that nothing was changed."""
    stub.replies = {LIMIT: DROP}
    path = Path(str(stub.server_address))
    away = path.with_suffix(".away")
    clock.then = lambda: away.exists() or path.rename(away)
    status, _, err = patient(*WORDS)
    away.rename(path)
    assert status == 1
    assert "the connection was lost, and 30 s of retries brought none (see journalctl" in err
    assert clock.now == pytest.approx(30, abs=4)
    assert len(stub.seen) == 1


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
    """A socket without a listener is reported at once."""
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

    monkeypatch.setattr("maxmemd.rest.connection.socket.socket", Closed)
    assert main(["--socket", "/s", "mem-max", "3", "1"]) == 1
    assert capsys.readouterr().err == (
        "maxmemctl: cannot reach maxmemd at /s: Permission denied"
        " (run this as root or as a member of the socket's group)\n"
    )


def test_silence_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No reply in time: the write may have happened, and is not sent again."""
    for module in (connection, retry):
        monkeypatch.setattr(module, "REPLY_S", 0.0)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(path)
        mute.listen(4)
        monkeypatch.setattr(
            "maxmemd.rest.connection.socket.socket.settimeout", _at_least_a_millisecond
        )
        with pytest.raises(
            connection.Unreachable, match="within 0 s: maxmemctl history shows whether"
        ):
            connection.DaemonConnection(path).ask("PUT", "/v1/x", {})


def test_timeout_is_how_long_a_reply_and_all_retries_may_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    """--timeout 100: busy answers are retried for 90 s, and the last reply has the 10 s left."""
    allowed_s: list[float] = []

    def busy(_: object, *request: object) -> tuple[int, bytes]:
        retry_of_it = request[-1]
        assert isinstance(retry_of_it, retry.Retry)
        allowed_s.append(retry_of_it._left_s(retry_of_it._reply_s))
        clock.pass_more(25)
        return 503, b'{"code": "arbiter-busy", "detail": "busy"}'

    monkeypatch.setattr(connection.DaemonConnection, "_exchange_with_socket", busy)
    assert main(["--timeout", "100", "mem-max", "3", "1"]) == 1
    assert [round(seconds) for seconds in allowed_s] == [100, 75, 50, 25]
    assert "waiting for maxmemd" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "3601", "-1", "1.5", "x", ""])
def test_a_timeout_that_is_none_is_wrong_usage(
    seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a whole number from 1 to 3600."""
    assert main(["--timeout", seconds, "list"]) == 2
    assert capsys.readouterr().err.startswith("maxmemctl: cannot ")


_settimeout = socket.socket.settimeout


def _at_least_a_millisecond(self: socket.socket, seconds: float | None) -> None:
    _settimeout(self, max(0.001, seconds or 0))


@pytest.mark.parametrize(
    ("raw", "times", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", 1, "does maxmemd listen there."),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", 9, "the connection was lost"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", 9, "the connection was lost"),
        (b"220 mail ready\r\n", 9, "the connection was lost"),
        (b"", 9, "the connection was lost"),
    ],
)
def test_what_is_no_reply(raw: bytes, times: int, said: str, tmp_path: Path, clock: Clock) -> None:
    """A reply that is cut short, or is not maxmemd's, is reported in one line."""
    path = str(tmp_path / "s")
    clock.then = lambda: clock.pass_more(3.95)

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
            connection.DaemonConnection(path).ask("GET", "/v1/host")
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
        answer = connection.DaemonConnection(path).ask("GET", "/v1/host")
    assert (answer.status, answer.body) == (201, {"a": 1})
