"""The device models' socket: which clients can reach it, and that others have no role there."""

import errno
import grp
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from maxmemd import files
from maxmemd.api.auth.admission import UNKNOWN_CONNECTIONS, UNKNOWN_RATE, Admission, AdmissionRules
from maxmemd.api.auth.peer_process import SO_PEERPIDFD
from maxmemd.api.auth.peers import OTHER_CLIENTS, device_model_of
from maxmemd.api.problems import Rejected
from maxmemd.api.routes import ROUTES
from maxmemd.api.server import unix
from maxmemd.config.file import parse
from maxmemd.config.settings import Config
from maxmemd.errors import ConfigError
from maxmemd.policy.roles import DEVICE_MODEL, NOBODY, Role, Roles
from maxmemd.pusher.connect import choose_connector
from maxmemd.units import Memory
from tests.support.fakes import FakeClock
from tests.support.http import UnixConnection, connect
from tests.support.outside import Outside, as_user, open_folder
from tests.support.until import until
from tests.support.wishes import BODIES, path_of

BASE = 300_000
ROMS = "/v1/domains/1/components/device-model/roms"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its uid")


class Apart(Outside):
    """A daemon with a socket for device models, and a root in which one would find it."""

    def __init__(self, folder: Path) -> None:
        self.apart = folder / "apart" / "maxmemd.sock"
        self.apart.parent.mkdir(mode=0o700)
        file = folder / "m.toml"
        file.write_text(
            f'device_model_base = "uid {BASE}"\ndevice_model_socket = "{self.apart}"\n'
            "connections = { device-model = 2 }\nrates = { device-model = 1000 }\n"
        )
        super().__init__(
            folder, options=("serve", "--hypervisor", "simulated", "--config", str(file))
        )
        root = folder / "root"
        root.mkdir(mode=0o711)
        self.link = root / "maxmemd.sock"
        self.link.hardlink_to(self.apart)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Apart]:
    """Give such a daemon, whose folder all users may enter, except for the socket's own."""
    with open_folder() as folder, Apart(folder) as apart:
        yield apart


def statuses(path: Path, asked: Sequence[tuple[str, str, Any]]) -> list[int]:
    """Return how each request of one connection is answered, once its rate allows an answer."""
    with closing(UnixConnection(path)) as connection:
        return [answered(connection, *one)[0] for one in asked]


def answered(connection: UnixConnection, method: str, path: str, body: Any) -> tuple[int, Any]:
    """Send a request, repeated while the shared rate is used up; return status and body."""
    found: list[tuple[int, Any]] = []

    def ask() -> bool:
        try:
            found.append(connection.ask(method, path, body))
        except BrokenPipeError:  # the connection was turned away before it had said anything
            connection.close()
            return False
        return found[-1][0] != 429

    until("the rate allows it", ask)
    return found[-1]


def test_the_modes(daemon: Apart) -> None:
    """The mode lets all users connect, but only the daemon's user can reach it."""
    assert stat.S_IMODE(daemon.apart.stat().st_mode) == 0o666
    assert stat.S_IMODE(daemon.apart.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660
    assert f"serving device models on {daemon.apart}" in daemon.said()


def test_root_may_do_nothing_there(daemon: Apart) -> None:
    """An admin of the other socket is refused every route, health and the documentation."""
    asked: list[tuple[str, str, Any]] = [
        *((route.method, path_of(route), BODIES.get(route.handler.__name__)) for route in ROUTES),
        ("GET", "/v1/openapi.json", None),
        ("GET", "/v1/nothing", None),
    ]
    for one in asked:
        with closing(UnixConnection(daemon.apart)) as connection:
            status, body = answered(connection, *one)
        assert (status, body["code"]) == (403, "not-allowed"), one
        assert f"cannot allow uid {os.geteuid()} (nobody) to do that" in body["detail"]
    assert daemon.ask("GET", "/v1/health")[0] == 200


HEALTH = [("GET", "/v1/health", None)]
"""What anybody with a role may ask."""
OWN: list[tuple[str, str, Any]] = [
    ("PUT", ROMS, {"amount_kib": 64}),
    ("GET", "/v1/domains/1", None),
    ("POST", "/v1/domains/1/headroom", {"pages": 8}),
]
OTHERS: list[tuple[str, str, Any]] = [
    ("GET", "/v1/domains/2", None),
    ("POST", "/v1/domains/2/headroom", {"pages": 8}),
    ("PUT", "/v1/domains/1/limit", {"max_mem_kib": 700 * 1024}),
    ("GET", "/v1/domains", None),
]


@as_root
def test_a_device_model_is_one(daemon: Apart) -> None:
    """Over the link in its root it may do what it may over the other socket, and no more."""
    found = as_user(BASE + 1, [BASE], lambda: statuses(daemon.link, [*HEALTH, *OWN, *OTHERS]))
    assert found == [200, 200, 200, 200, 403, 403, 403, 403]
    _, body = daemon.ask("GET", "/v1/domains/1/history?limit=1")
    assert body["entries"][0]["by"]["uid"] == BASE + 1


@as_root
@pytest.mark.parametrize("uid", [1000, BASE, BASE - 1, BASE + 0x7FF0, 65534])
def test_another_user_may_do_nothing_there(daemon: Apart, uid: int) -> None:
    """It finds the link, may connect, and is refused what any observer may do elsewhere."""
    asked = [*HEALTH, OWN[1], OTHERS[0]]
    assert as_user(uid, [0, uid], lambda: statuses(daemon.link, asked)) == [403] * 3


@as_root
def test_no_other_user_reaches_it_by_its_own_path(daemon: Apart) -> None:
    """Not by its own path: the folder is closed."""

    def tries() -> list[int]:
        try:
            connect(daemon.apart, 5.0).close()
        except PermissionError as error:
            return [error.errno]
        return [0]

    assert as_user(BASE + 1, [BASE], tries) == [13]


@as_root
def test_the_limits_hold_there(daemon: Apart) -> None:
    """A device model has the same number of connections there, and a message for one too many."""

    def third() -> list[int]:
        with (
            connect(daemon.link, 5.0),
            connect(daemon.link, 5.0),
            connect(daemon.link, 5.0) as last,
        ):
            return [int(last.recv(65536).split()[1])]

    assert as_user(BASE + 1, [BASE], third) == [429]


def test_other_clients_share_what_one_has(daemon: Apart) -> None:
    """They share a number of connections, are cut when silent, and do not block device models."""
    with ExitStack() as held:
        first, *_ = [
            held.enter_context(connect(daemon.apart, 15.0)) for _ in range(UNKNOWN_CONNECTIONS)
        ]
        last = held.enter_context(connect(daemon.apart, 15.0))
        assert last.recv(65536).startswith(b"HTTP/1.1 429 ")
        assert daemon.ask("GET", "/v1/domains")[0] == 200
        assert first.recv(65536) == b""
    until("there is room again", lambda: statuses(daemon.apart, HEALTH) == [403])


def test_a_flood_of_other_clients_harms_none(daemon: Apart) -> None:
    """Of what they ask most is not even looked at, and the other socket's clients do not notice."""
    with closing(UnixConnection(daemon.apart)) as connection:
        found = [connection.ask(*HEALTH[0])[0] for _ in range(100)]
    assert set(found) <= {403, 429}
    assert found.count(429) > 50
    assert daemon.ask("GET", "/v1/domains")[0] == 200


class Connected:
    """A transport of a process with this uid."""

    def __init__(self, uid: int, pid: int = 4711) -> None:
        self._uid, self._pid = uid, pid

    def get_extra_info(self, name: str) -> Any:
        """Give the socket, which asks the kernel."""
        return SimpleNamespace(getsockopt=self._option) if name == "socket" else None

    def _option(self, _: int, name: int, size: int = 0) -> Any:
        if name == socket.SO_DOMAIN:
            return socket.AF_UNIX
        if name == socket.SO_PEERCRED:
            return b"".join(n.to_bytes(4, "little") for n in (self._pid, self._uid, self._uid))
        if name == SO_PEERPIDFD:
            raise ProcessLookupError(errno.ESRCH, "it has ended")
        return b""


ALL = Roles({1000: "admin", BASE + 3: "admin"}, {1000: "admin"}, {}, BASE)


@pytest.mark.parametrize(
    ("uid", "pid", "role"),
    [
        (0, 1, Role(NOBODY)),
        (os.geteuid(), 1, Role(NOBODY)),
        (1000, 1, Role(NOBODY)),
        (BASE, 1, Role(NOBODY)),
        (BASE + 1, 1, Role(DEVICE_MODEL, 1)),
        (BASE + 1, 0, Role(NOBODY)),
        (BASE + 3, 1, Role(DEVICE_MODEL, 3)),
        (BASE + 0x7FEF, 1, Role(DEVICE_MODEL, 0x7FEF)),
        (BASE + 0x7FF0, 1, Role(NOBODY)),
    ],
)
def test_who_is_what(uid: int, pid: int, role: Role) -> None:
    """Only a device model has a role; all others count as one client, for any uid."""
    found = device_model_of(Connected(uid, pid), ALL)
    assert found.role == role
    assert found.client == (str(uid) if role.name == DEVICE_MODEL else OTHER_CLIENTS)
    assert device_model_of(Connected(uid, pid), Roles(base=None)).role == Role(NOBODY)


def test_other_clients_are_counted_together() -> None:
    """Many uids have no more connections than one; they end as they came."""
    admission = Admission(
        AdmissionRules(ALL, connections={"admin": 1}), clock_s=FakeClock().monotonic_s
    )
    peers = [
        admission.register_device_model(Connected(uid))
        for uid in range(2000, 2000 + UNKNOWN_CONNECTIONS)
    ]
    admission.check_connection(peers[-1])
    one_more = admission.register_device_model(Connected(0))
    with pytest.raises(Rejected) as refused:
        admission.check_connection(one_more)
    assert refused.value.numbers["at_most"] == UNKNOWN_CONNECTIONS
    admission.check_connection(admission.register_device_model(Connected(BASE + 1)))
    for peer in (*peers, one_more):
        admission.unregister(peer)
    assert set(admission._open) == {str(BASE + 1)}
    assert UNKNOWN_RATE == 10


@pytest.fixture
def default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a socket in a folder that the service may make."""
    monkeypatch.setattr(files, "OWN_FOLDERS", {tmp_path / "closed": 0o700})
    return tmp_path / "closed" / "s"


def test_the_folder_is_closed_first(default: Path) -> None:
    """A folder that is made is closed from the first; whatever the umask is, so is the socket's."""
    path = default
    before = os.umask(0)
    try:
        unix.bind_device_model_socket(path).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    unix.bind_device_model_socket(path).close()


def test_no_instant_is_open(default: Path) -> None:
    """While it is created, no other user sees a socket in a folder that others may enter."""
    path = default
    seen: set[tuple[int, int]] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            try:
                socket_mode = os.stat(path).st_mode  # noqa: PTH116 - as fast as can be
                folder_mode = os.stat(path.parent).st_mode  # noqa: PTH116
            except FileNotFoundError:
                continue
            seen.add((stat.S_IMODE(folder_mode), stat.S_IMODE(socket_mode)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = os.umask(0)
    try:
        for _ in range(100):
            unix.bind_device_model_socket(path).close()
            path.unlink()
            path.parent.rmdir()
    finally:
        os.umask(before)
        stop.set()
        watcher.join()
    assert seen <= {(0o700, 0o666)}


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o755, 0o1777])
def test_a_folder_that_others_may_enter(tmp_path: Path, mode: int) -> None:
    """It is refused as it is, and no socket was there for an instant."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ConfigError, match=f"others may enter {folder}.*chmod 700 {folder}"):
        unix.bind_device_model_socket(folder / "s")
    assert not list(folder.iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == mode


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    """A link, a file, and a folder below a file are refused in a sentence."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigError, match="is not a directory of our own"):
        unix.bind_device_model_socket(tmp_path / "link" / "s")
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "s", tmp_path / "file" / "below" / "s"):
        with pytest.raises(ConfigError, match=f"cannot listen on {path}: "):
            unix.bind_device_model_socket(path)


@as_root
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    """The owner of the folder could open it."""
    os.chown(tmp_path, 1000, -1)
    tmp_path.chmod(0o700)
    with pytest.raises(ConfigError, match="is not a directory of our own"):
        unix.bind_device_model_socket(tmp_path / "s")


def by_systemd(path: Path) -> None:
    """Take a socket that systemd passed."""
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(str(path))
        unix.open_sockets((passed, None), Config(socket=path))


def apart_by_systemd(path: Path) -> None:
    """Take one for device models that systemd passed beside it."""
    with socket.socket(socket.AF_UNIX) as passed, socket.socket(socket.AF_UNIX) as apart:
        passed.bind(str(path.parents[2] / "api"))
        apart.bind(str(path))
        unix.open_sockets((passed, apart), Config(socket=path.parents[2] / "api"))


def of_the_pusher(path: Path) -> None:
    """Connect to the pusher's."""
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(str(path))
        choose_connector(path, Memory(kib=4)).close()


@pytest.mark.parametrize(
    "use", [unix.bind, unix.bind_device_model_socket, by_systemd, apart_by_systemd, of_the_pusher]
)
def test_a_socket_that_another_user_could_replace(tmp_path: Path, use: Callable[..., Any]) -> None:
    """Whichever socket it is, each folder above it is only root's or ours to change."""
    folder = tmp_path / "above" / "own"
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.chmod(0o777)
    with pytest.raises(ConfigError, match=f"every user may write to {folder.parent} "):
        use(folder / "s")
    folder.parent.chmod(0o755)
    for name in (folder / "s", tmp_path / "api"):
        name.unlink(missing_ok=True)
    found = use(folder / "s")
    if found is not None:
        found.close()


def test_where_it_is() -> None:
    """Beside the default socket by default; a daemon with another socket has none unless told."""
    default = Path("/run/maxmemd-device-model/maxmemd.sock")
    assert Config().device_model_socket_path == default
    assert Config(socket=Path("/tmp/m.sock")).device_model_socket_path is None
    assert parse({"device_model_socket": "none"}, "").device_model_socket_path is None
    found = parse({"socket": "/tmp/m.sock", "device_model_socket": "/run/x/s"}, "")
    assert found.device_model_socket_path == Path("/run/x/s")
    with pytest.raises(ConfigError, match="only root may enter its folder"):
        parse({"device_model_socket": "/run/maxmemd/s"}, "m.toml")
    with pytest.raises(ConfigError, match=r'write an absolute path.*, or "auto" or "none"'):
        parse({"device_model_socket": "s"}, "m.toml")


def test_none_is_bound_without_it(tmp_path: Path) -> None:
    """A daemon with a socket of its own, which may be anybody's, makes nothing else."""
    sock, apart = unix.open_sockets(None, Config(socket=tmp_path / "m.sock"))
    sock.close()
    assert apart is None
    assert [path.name for path in tmp_path.iterdir()] == ["m.sock"]


def test_none_by_the_configuration_beside_systemds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If systemd passes one anyway, no client has a role, and the log says how to remove it."""
    none = Config(socket=tmp_path / "m.sock", device_model_socket="none")
    other = Config(socket=tmp_path / "m.sock", device_model_socket=tmp_path / "x" / "s")
    with socket.socket(socket.AF_UNIX) as api, socket.socket(socket.AF_UNIX) as apart:
        api.bind(str(none.socket))
        apart.bind(str(tmp_path / "a"))
        assert unix.open_sockets((api, apart), none) == (api, apart)
        assert unix.open_sockets((api, apart), other) == (api, apart)
    assert "systemctl mask --now maxmemd-device-model.socket" in caplog.messages[0]
    said = f"systemd passed the socket {tmp_path / 'a'}, so the configured"
    said += f" device_model_socket = {tmp_path}/x/s"
    assert caplog.messages[1].startswith(said)
    assert len(caplog.messages) == 2
    connection, mine = socket.socketpair()
    with connection, mine:
        for has_apart, name in ((True, "device-model"), (False, "nobody")):
            roles = Roles(base=os.geteuid() - 7)
            admission = Admission(AdmissionRules(roles), has_device_model_socket=has_apart)
            came = admission.register_device_model(Transport(mine))
            assert came.role.name == name
            scope = {"maxmemd.peer": came, "headers": [], "query_string": b""}
            assert admission.identify(scope).role.name == name


class Transport:
    """A transport that knows its socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def get_extra_info(self, name: str) -> object:
        """Return what is known."""
        return self._sock if name == "socket" else None


def test_the_group_of_systemds_socket(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The configuration cannot change it: if it differs, the log says what to do."""
    own = grp.getgrgid(os.getegid()).gr_name
    other = next(one.gr_name for one in grp.getgrall() if one.gr_gid != os.getegid())
    with socket.socket(socket.AF_UNIX) as api:
        api.bind(str(tmp_path / "m.sock"))
        for group in (own, "", other, "no-such-group-here"):
            unix.open_sockets((api, None), Config(socket=tmp_path / "m.sock", socket_group=group))
    assert [" ".join(line.split()[-4:]) for line in caplog.messages] == [
        "maxmemd.socket: systemctl edit maxmemd.socket)"
    ] * 2
