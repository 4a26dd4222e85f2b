"""Who may call what: every route, every kind of peer; browsers; and the socket itself."""

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from maxmemd.api.auth.peers import UNKNOWN_PEER, Peer, peer
from maxmemd.api.routes import ROUTES
from maxmemd.api.server import unix
from maxmemd.config.settings import Config
from maxmemd.errors import ConfigError
from tests.support.inside import ROOT, Inside, problem
from tests.support.outside import Outside
from tests.support.wishes import path_of

PEERS: dict[str, tuple[Peer, bool]] = {
    "root": (ROOT, True),
    "another user": (peer(9, 1000, 1000), True),
    "the last uid": (peer(9, 4294967294, 0), True),
    "uid 65534": (peer(9, 65534, 65534), False),
    "root without a pid": (peer(0, 0, 0), False),
    "nobody": (UNKNOWN_PEER, False),
}


@pytest.mark.parametrize("path", ["/v1/openapi.json", "/v1/docs", "/v1/nothing"])
def test_the_documentation_is_for_those_with_a_name(shared: Inside, path: str) -> None:
    """Every client with a role may read the API's description."""
    for caller, has_role in PEERS.values():
        reply = shared.ask("GET", path, peer=caller)
        if has_role:
            assert reply.status_code == (404 if path == "/v1/nothing" else 200)
        else:
            problem(reply, "not-allowed", 403)


def test_access_is_looked_at_before_all_else(shared: Inside) -> None:
    """Who may not write learns nothing of domains from what is said about a bad request."""
    caller = PEERS["another user"][0]
    for path, raw in [("/v1/domains/nobody/limit", b"{"), ("/v1/domains/web/limit?x=1", b"1")]:
        problem(shared.ask("PUT", path, raw=raw, peer=caller), "not-allowed", 403)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Origin", "http://localhost"), ("Origin", "null"), ("Referer", "http://localhost/v1/docs"),
        ("Host", "evil.example"), ("Host", "localhost.evil.example"), ("Host", "127.0.0.1"),
        ("Host", "[::1]"), ("Host", "a b"), ("Host", "x:y"), ("Host", "localhost@evil"),
    ],
)  # fmt: skip
def test_browsers_are_refused(shared: Inside, header: str, value: str) -> None:
    """What only a browser sends is refused on every route; only a link to a page is followed."""
    pages = [("GET", "/v1/openapi.json"), ("GET", "/v1/docs")] if header != "Referer" else []
    for method, path in [
        *((route.method, path_of(route)) for route in ROUTES), *pages, ("GET", "/v1/nothing"),
    ]:  # fmt: skip
        reply = shared.ask(method, path, headers={header: value})
        assert problem(reply, "browser-refused", 403)["header"] == header, path


@pytest.mark.parametrize("host", ["localhost", "x", "maxmemd", "LOCALHOST", "localhost:80", ""])
def test_local_names_are_served(shared: Inside, host: str) -> None:
    """A Host without a dot is no web site: clients of a Unix socket send such names."""
    assert shared.ask("GET", "/v1/host", headers={"Host": host}).status_code == 200


def test_the_sockets_mode(daemon: Outside) -> None:
    """Only the owner and the group of the socket may connect."""
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660


def test_the_socket_is_never_wider(tmp_path: Path) -> None:
    """Not for an instant, under any umask: it is created with its mode."""
    path = tmp_path / "s"
    seen: set[int] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            try:
                seen.add(stat.S_IMODE(os.stat(path).st_mode))  # noqa: PTH116 - as fast as can be
            except FileNotFoundError:
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = os.umask(0)
    try:
        for _ in range(100):
            unix.bind(path).close()
            path.unlink()
        assert os.umask(0) == 0
    finally:
        os.umask(before)
        stop.set()
        watcher.join()
    assert seen <= {0o660}


@pytest.mark.parametrize("same", [False, True])
def test_a_socket_that_systemd_passed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, same: bool
) -> None:
    """It is served, and where the configuration says another one, that is said."""
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(str(tmp_path / "s"))
        wanted = tmp_path / ("s" if same else "other")
        assert unix.open_sockets((passed, None), Config(socket=wanted)) == (passed, None)
    assert not (tmp_path / "other").exists()
    said = [f"systemd passed the socket {tmp_path / 's'}, so the configured socket = {wanted}"] * (
        not same
    )
    assert [text[: len(one)] for text, one in zip(caplog.messages, said, strict=True)] == said


def test_the_mode_at_the_instant_of_bind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When bind returns to the daemon the socket has its mode already."""
    modes: list[int] = []

    class Watched(socket.socket):
        def bind(self, address: object) -> None:
            """Bind, and look at once."""
            super().bind(address)  # type: ignore[arg-type]
            modes.append(stat.S_IMODE(Path(str(address)).stat().st_mode))

    monkeypatch.setattr(socket, "socket", Watched)
    unix.bind(tmp_path / "s").close()
    assert modes == [0o660]


def test_a_dead_daemons_socket_is_replaced(tmp_path: Path) -> None:
    """A socket without a listener is replaced; one with a listener, and a file, are left alone."""
    path = tmp_path / "s"
    unix.bind(path).close()
    living = unix.bind(path)
    with pytest.raises(ConfigError, match="another process answers there"):
        unix.bind(path)
    living.close()
    path.unlink()
    (tmp_path / "elsewhere").write_text("precious")
    for target in ("elsewhere", "nowhere"):
        path.symlink_to(tmp_path / target)
        with pytest.raises(ConfigError, match="a symbolic link is in the way"):
            unix.bind(path)
        path.unlink()
    path.write_text("precious")
    with pytest.raises(ConfigError, match="not a socket is in the way"):
        unix.bind(path)
    assert path.read_text() == "precious"


def test_a_folder_for_everybody(tmp_path: Path) -> None:
    """No socket is created in a world-writable folder, except a sticky one like /tmp."""
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match=f"every user may write to {tmp_path}"):
        unix.bind(tmp_path / "s")
    assert not (tmp_path / "s").exists()
    tmp_path.chmod(0o1777)
    unix.bind(tmp_path / "s").close()


def test_a_symlink_that_comes_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that is put there after the look is not followed: the kernel refuses to bind."""
    path = tmp_path / "s"
    path.symlink_to(tmp_path / "away")
    monkeypatch.setattr(unix, "_clear", lambda _: None)
    with pytest.raises(ConfigError, match="cannot listen on"):
        unix.bind(path)
    assert not (tmp_path / "away").exists()


def test_a_socket_that_cannot_be(tmp_path: Path) -> None:
    """A path that is too long, or a group that is not, is said in a sentence."""
    with pytest.raises(ConfigError, match="cannot listen on"):
        unix.bind(tmp_path / ("x" * 120))
    with pytest.raises(ConfigError, match="there is no such group"):
        unix.bind(tmp_path / "s", "no-such-group-here")


def test_what_is_left_of_a_refused_request_is_skipped(daemon: Outside) -> None:
    """A request that is refused before its body is read leaves the connection usable."""
    with daemon.raw() as sock:
        head = b"PUT /v1/domains/web/limit HTTP/1.1\r\nHost: %s\r\nContent-Length: 9\r\n\r\n"
        sock.sendall(head % b"evil.example")
        found = b""
        while not found.endswith(b"}"):
            found += sock.recv(65536)
        assert found.startswith(b"HTTP/1.1 403")
        sock.sendall(b"123456789GET /v1/host HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
