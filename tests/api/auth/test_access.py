"""Who may call what: every route, every kind of peer; browsers; and the socket itself."""

import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from maxmemd.api.auth.peers import UNKNOWN_PEER, Peer, peer
from maxmemd.api.routes import ROUTES, Route
from maxmemd.api.server import unix
from maxmemd.config.settings import Config
from maxmemd.errors import ConfigError
from tests.support.inside import ROOT, Inside, problem
from tests.support.outside import Outside, UnixConnection, as_user

OWN = 1500
"""The user that the daemon runs as in these tests."""

PEERS: dict[str, tuple[Peer, bool]] = {
    "root": (ROOT, True),
    "another user": (peer(9, 1000, 1000), True),
    "the last uid": (peer(9, 4294967294, 0), True),
    "uid 65534": (peer(9, 65534, 65534), False),
    "root without a pid": (peer(0, 0, 0), False),
    "nobody": (UNKNOWN_PEER, False),
}
BODIES = {
    "set_limit": {"max_mem_kib": 700 * 1024},
    "set_target": {"target_kib": 300 * 1024},
    "set_component": {"amount_kib": 256},
    "increase": {"by_kib": 256},
    "build": {"target_kib": 300 * 1024, "life": "created"},
    "headroom": {"pages": 64},
    "relayed_headroom": {
        "pages": 64,
        "uuid": "51a70000-0000-4000-8000-000000000001",
        "stub_domid": 7,
    },
    "rollback": {"revision": 1},
    "set_drift": {"mode": "alert", "for_s": 60},
    "create_token": {"name": "one", "role": "observer"},
    "put_record": {"components": [{"owner": "operator", "name": "max-mem", "amount_kib": 700000}]},
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """Give one daemon for the whole matrix."""
    with Inside(tmp_path_factory.mktemp("access")) as inside:
        inside.event_stream.close()  # a stream of events ends where it begins
        yield inside


def path_of(route: Route) -> str:
    """Return a path that the route serves."""
    ref = "51a70000-0000-4000-8000-000000000001" if "records" in route.path else "web"
    return route.path.format(ref=ref, owner="device-model", name="roms")


def test_the_daemons_own_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom the daemon runs as is admin, as root is."""
    assert peer(9, OWN, OWN).role.name == "observer"
    monkeypatch.setattr("os.geteuid", lambda: OWN)
    assert peer(9, OWN, OWN).role.name == peer(9, 0, 0).role.name == "admin"


@pytest.mark.parametrize("path", ["/v1/openapi.json", "/v1/docs", "/v1/nothing"])
def test_the_documentation_is_for_those_with_a_name(shared: Inside, path: str) -> None:
    """What the API says of itself is for whoever may call it at all."""
    for caller, has_role in PEERS.values():
        reply = shared.ask("GET", path, peer=caller)
        if has_role:
            assert reply.status_code in (200, 404)
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
    """What only a browser sends is refused on every route, and on what is none."""
    for method, path in [
        *((route.method, path_of(route)) for route in ROUTES),
        ("GET", "/v1/openapi.json"), ("GET", "/v1/docs"), ("GET", "/v1/nothing"),
    ]:  # fmt: skip
        reply = shared.ask(method, path, headers={header: value})
        assert problem(reply, "browser-refused", 403)["header"] == header, path


@pytest.mark.parametrize("host", ["localhost", "x", "maxmemd", "LOCALHOST", "localhost:80", ""])
def test_local_names_are_served(shared: Inside, host: str) -> None:
    """A Host without a dot is nobody's site: what clients of a Unix socket send."""
    assert shared.ask("GET", "/v1/host", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Authorization",
                                  "X-Forwarded-User", "X-Remote-User", "Cookie"])  # fmt: skip
def test_no_header_makes_anybody_root(shared: Inside, name: str) -> None:
    """Identity is the kernel's word, whatever a header says."""
    reply = shared.ask(
        "PUT", "/v1/domains/web/limit", {"max_mem_kib": 4}, headers={name: "root"},
        peer=PEERS["another user"][0],
    )  # fmt: skip
    problem(reply, "not-allowed", 403)


def test_who_did_it_is_in_the_history(shared: Inside) -> None:
    """The history names the caller by uid, gid and pid, and an unknown uid by its number."""
    shared.put("/v1/domains/web/limit", {"max_mem_kib": 701 * 1024})
    by = shared.get("/v1/domains/web/history?limit=1")["entries"][0]["by"]
    assert by == {"name": "root", "uid": 0, "gid": 0, "pid": 4711}
    assert json.loads(peer(1, 4294967294, 5).actor)["name"] == "uid 4294967294"


def test_the_sockets_mode(daemon: Outside) -> None:
    """The socket is for its owner and its group, and for nobody else."""
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660


def test_the_socket_is_never_wider(tmp_path: Path) -> None:
    """Not for an instant, and whatever the umask was: it is created with its mode."""
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
    """A socket nobody answers on is replaced; a living one, and a file, are left alone."""
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
    """Where everybody may put another socket in its place none is made; /tmp's kind is fine."""
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    ("uid", "reading", "writing"),
    [(0, 200, 200), (1000, 200, 403), (4294967294, 200, 403), (65534, 403, 403)],
)
def test_the_kernel_says_who_it_is(daemon: Outside, uid: int, reading: int, writing: int) -> None:
    """Over the real socket another uid is seen as what it is, on every request of a connection."""
    for folder in (daemon.socket.parent, *daemon.socket.parent.parents[:3]):
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    daemon.socket.chmod(0o666)
    try:
        found = as_user(uid, [1000], lambda: _ask_three(daemon.socket))
    finally:
        daemon.socket.chmod(0o660)
    assert found == [reading, writing, reading]


def _ask_three(path: Path) -> list[int]:
    connection = UnixConnection(path)
    roms = "/v1/domains/web/components/device-model/roms"
    asked = [("GET", "/v1/domains/web", None), ("PUT", roms, {"amount_kib": 64})]
    return [connection.ask(*one)[0] for one in (*asked, asked[0])]


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
