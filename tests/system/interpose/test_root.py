"""A device model that locks itself into a root of its own, and asks on from within as its uid."""

import errno
import os
import socket
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.http import UnixConnection
from tests.support.outside import Outside, as_user, open_folder
from tests.system.interpose.conftest import Built, amounts, valgrind
from tests.system.interpose.serve import BASE, RUNNING

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can lock itself in")

SPARE = 256 - 16
"""Pages that a guest of these tests may have more than it has, less what is left free."""
WITHIN_S = 60


class Locked:
    """A program named as a qemu is (or not), which runs the steps that it is given."""

    def __init__(
        self, built: Built, *wrapper: str, program: str = "qemu-locked", **environment: object
    ) -> None:
        self._log = built.directory / "locked.err"
        argv = [*wrapper, str(built.directory / program)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                argv,
                env=built.variables(**environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=WITHIN_S)
        assert self._process.returncode == 0, self.said

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    @property
    def said(self) -> str:
        """Return what it has said on stderr so far."""
        return self._log.read_text()

    def do(self, *words: object) -> tuple[int, int]:
        """Let it do one thing; return what the call returned, and errno."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(*words, file=self._process.stdin, flush=True)
        found = dict(pair.split("=") for pair in self._process.stdout.readline().split())
        assert found, self.said
        return int(found["rc"]), int(found["errno"])


class Held:
    """The two sockets, held for a daemon as systemd does: they stay while it is restarted."""

    def __init__(self, folder: Path) -> None:
        self.apart = folder / "apart" / "maxmemd.sock"
        self.apart.parent.mkdir(mode=0o700)
        self._sockets = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for sock, path in zip(self._sockets, (folder / "m.sock", self.apart), strict=True):
            sock.bind(str(path))
            sock.listen(64)
        self.apart.chmod(0o666)
        fds = [sock.fileno() for sock in self._sockets]
        options = ("--held", *map(str, fds))
        self.daemon = Outside(folder, "tests.system.interpose.serve", options, inherits=fds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self.daemon.__exit__(kind, *rest)
        for sock in self._sockets:
            sock.close()

    def replace(self, domid: int) -> None:
        """Let a domain end and another have its domid."""
        assert self.daemon.running.stdin is not None
        assert self.daemon.running.stdout is not None
        self.daemon.running.stdin.write(b"replace %d\n" % domid)
        self.daemon.running.stdin.flush()
        assert self.daemon.running.stdout.readline() == b"done\n"


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    """Give a daemon whose sockets are held for it."""
    with Held(tmp_path_factory.mktemp("held")) as sockets:
        yield sockets


_own = iter(RUNNING[::2])


@pytest.fixture
def web() -> int:
    """Give the domid of a guest that no other test has touched; nor has one the next domid's."""
    return next(_own)


@pytest.fixture
def asking(plain: Built, held: Held) -> Built:
    """Give the library with that daemon and its socket for device models."""
    conf = f"wait_ms=3000\ndevice_model_socket = {held.apart}"
    return Built(plain.directory, conf, held.daemon.socket)


@pytest.fixture
def root() -> Iterator[Path]:
    """Give a new root as libxl makes it."""
    with open_folder() as folder:
        made = folder / "qemu-root-7"
        made.mkdir(mode=0)
        yield made


def by(daemon: Outside, domid: int) -> list[dict[str, Any]]:
    """Return who increased what the device model has, latest first."""
    _, body = daemon.ask("GET", f"/v1/domains/{domid}/history")
    return [line["by"] for line in body["entries"] if line["kind"] == "headroom"]


def test_it_asks_on_from_within(asking: Built, held: Held, root: Path, web: int) -> None:
    """As root, then locked in as its domain's uid: both times it gets the room that it needs."""
    with Locked(asking) as qemu:
        before = qemu.do("descriptors")
        assert qemu.do("populate", web, 1000) == (0, 0)
        assert amounts(held.daemon, web)["populated"] == (1000 - SPARE) * 4
        assert qemu.do("chroot", root) == (0, 0)
        assert qemu.do("become", BASE + web) == (0, 0)
        assert qemu.do("populate", web, 2000) == (0, 0)
        assert amounts(held.daemon, web)["populated"] == (2000 - SPARE) * 4
        assert qemu.do("descriptors") == before
        assert qemu.said == ""
        callers = [(caller["uid"], caller["pid"]) for caller in by(held.daemon, web)]
        assert callers == [(BASE + web, qemu.pid), (0, qemu.pid)]
    assert asking.xen == [f"populate {web} 1000", f"populate {web} 2000"]


def test_what_is_in_the_root(asking: Built, held: Held, root: Path) -> None:
    """One link to the socket, in a directory that can be searched, not listed and not written."""
    with Locked(asking) as qemu:
        qemu.do("chroot", root)
        assert [path.name for path in root.iterdir()] == ["maxmemd.sock"]
        assert (root / "maxmemd.sock").samefile(held.apart)
        assert stat.S_IMODE(root.stat().st_mode) == 0o111


def test_another_domain_is_not_its_own(asking: Built, held: Held, root: Path, web: int) -> None:
    """It is refused, and says so; Xen has the last word on what it populates."""
    with Locked(asking) as qemu:
        qemu.do("chroot", root)
        qemu.do("become", BASE + web)
        assert qemu.do("populate", web + 1, 2000) == (0, 0)
        said = f"maxmemd: no headroom for 2000 pages of domain {web + 1}: cannot allow the device"
        assert said in qemu.said
        assert f"device model of domain {web} to do that" in qemu.said
    assert by(held.daemon, web + 1) == []


def test_the_next_domain_is_another(asking: Built, held: Held, root: Path, web: int) -> None:
    """A connection that was made before its domid went to another domain is good for nothing."""
    with Locked(asking) as qemu:
        qemu.do("chroot", root)
        path = f"/v1/domains/{web}/headroom"

        def asked() -> list[int]:
            with closing(UnixConnection(root / "maxmemd.sock")) as connection:
                first, _ = connection.ask("POST", path, {"pages": 1000})
                held.replace(web)
                second, body = connection.ask("POST", path, {"pages": 1000})
            with closing(UnixConnection(root / "maxmemd.sock")) as connection:
                third, _ = connection.ask("POST", path, {"pages": 1000})
            return [first, second, body["code"] == "not-your-domain", third]

        assert as_user(BASE + web, [BASE], asked) == [200, 403, 1, 200]


def test_others_who_find_the_link(asking: Built, held: Held, root: Path, web: int) -> None:
    """Root and another uid are refused what they ask over the device model's link."""
    with Locked(asking) as qemu:
        qemu.do("chroot", root)
    for uid in (0, 1000, BASE):
        assert as_user(uid, [uid], lambda: _headroom(root / "maxmemd.sock", web)) == [403]
    assert by(held.daemon, web) == []


def _headroom(path: Path, domid: int) -> list[int]:
    with closing(UnixConnection(path)) as connection:
        status, _ = connection.ask("POST", f"/v1/domains/{domid}/headroom", {"pages": 1000})
    return [status]


@pytest.mark.long
def test_a_restart_of_the_daemon(plain: Built, root: Path, tmp_path: Path) -> None:
    """The socket is the same after it, so the link leads on; so does one made before the start."""
    domid = 9
    with Held(tmp_path) as held:
        conf = f"wait_ms=3000\ndevice_model_socket = {held.apart}"
        built = Built(plain.directory, conf, held.daemon.socket)
        with Locked(built) as qemu:
            qemu.do("chroot", root)
            qemu.do("become", BASE + domid)
            assert qemu.do("populate", domid, 1000) == (0, 0)
            held.daemon.stop()
            held.daemon.start()
            assert qemu.do("populate", domid, 3000) == (0, 0)
            assert qemu.said == ""
        assert amounts(held.daemon, domid)["populated"] == (3000 - SPARE) * 4
        assert [caller["uid"] for caller in by(held.daemon, domid)] == [BASE + domid] * 2


def test_a_socket_that_is_made_anew(plain: Built, root: Path, tmp_path: Path) -> None:
    """Without systemd a restarted daemon has another one, to which the link does not lead."""
    apart = tmp_path / "apart" / "maxmemd.sock"
    apart.parent.mkdir(mode=0o700)
    with Outside(tmp_path, "tests.system.interpose.serve", ("--apart", str(apart))) as daemon:
        built = Built(plain.directory, f"device_model_socket={apart}\nwait_ms=0", daemon.socket)
        with Locked(built) as qemu:
            qemu.do("chroot", root)
            qemu.do("become", BASE + 9)
            assert qemu.do("populate", 9, 1000) == (0, 0)
            assert qemu.said == ""
            daemon.stop()
            daemon.start()
            assert qemu.do("populate", 9, 3000) == (0, 0)
            assert "cannot reach maxmemd at /maxmemd.sock: Connection refused" in qemu.said
        assert len(by(daemon, 9)) == 1


def test_without_the_socket(plain: Built, held: Held, root: Path, web: int) -> None:
    """One line says what that means, and the device model continues."""
    conf = "device_model_socket = /nowhere/s\nwait_ms=0"
    built = Built(plain.directory, conf, held.daemon.socket)
    with Locked(built) as qemu:
        assert qemu.do("chroot", root) == (0, 0)
        assert qemu.said == (
            f"maxmemd: cannot link /nowhere/s into {root}: No such file or directory; this device"
            " model will not be able to ask for headroom, so its pages have to fit below the"
            " present maximum\n"
        )
        assert qemu.do("become", BASE + web) == (0, 0)
        assert qemu.do("populate", web, 1000) == (0, 0)
        assert "cannot reach maxmemd at /maxmemd.sock: Permission denied" in qemu.said
    assert built.xen == [f"populate {web} 1000"]
    assert stat.S_IMODE(root.stat().st_mode) == 0
    assert list(root.iterdir()) == []


def test_a_root_on_another_file_system(asking: Built, web: int) -> None:
    """No hard link leads there."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == asking.directory.stat().st_dev:
        pytest.skip("cannot try: /dev/shm is no file system of its own")
    root = other / f"qemu-root-{os.getpid()}"
    root.mkdir(mode=0)
    try:
        with Locked(asking) as qemu:
            assert qemu.do("chroot", root) == (0, 0)
            assert f"into {root}: Invalid cross-device link; this device model" in qemu.said
    finally:
        root.rmdir()


def test_a_link_that_was_left(asking: Built, held: Held, root: Path) -> None:
    """A stale socket is replaced; a file of its name is not ours, and stays."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(root / "maxmemd.sock"))
    with Locked(asking) as qemu:
        qemu.do("chroot", root)
        assert qemu.said == ""
    assert (root / "maxmemd.sock").samefile(held.apart)
    (root / "maxmemd.sock").unlink()
    (root / "maxmemd.sock").write_text("precious")
    with Locked(asking) as qemu:
        assert qemu.do("chroot", root) == (0, 0)
        assert "File exists" in qemu.said
    assert (root / "maxmemd.sock").read_text() == "precious"


def test_a_root_that_is_not_entered(asking: Built, root: Path, web: int) -> None:
    """Where chroot fails nothing is left, its errno is the caller's, and it asks as before."""
    without = ("setpriv", "--bounding-set=-sys_chroot", "--inh-caps=-sys_chroot")
    with Locked(asking, *without) as qemu:
        assert qemu.do("chroot", root) == (-1, errno.EPERM)
        assert list(root.iterdir()) == []
        assert qemu.do("chroot", root / "nothing") == (-1, errno.ENOENT)
        assert qemu.said.count("maxmemd: ") == 1
        assert qemu.do("populate", web, 1000) == (0, 0)
        assert qemu.said.count("maxmemd: ") == 1


def test_other_programs_are_left_alone(asking: Built, root: Path) -> None:
    """What is no device model goes where it wants to, and finds nothing there."""
    with Locked(asking, program="locked") as program:
        assert program.do("chroot", root) == (0, 0)
        assert program.said == ""
    assert list(root.iterdir()) == []
    assert stat.S_IMODE(root.stat().st_mode) == 0


def test_libxl_finds_it_empty(asking: Built, root: Path) -> None:
    """A root that is used again has to be removable: libxl gives a creation up where it is not."""
    with Locked(asking) as qemu:
        qemu.do("chroot", root)
    with Locked(asking, program="locked", preload=False) as xl:
        assert xl.do("rmdir", root) == (-1, errno.ENOTEMPTY)
    with Locked(asking, program="locked") as xl:
        assert xl.do("rmdir", root) == (0, 0)
        assert xl.do("rmdir", root) == (-1, errno.ENOENT)
        assert xl.said == ""
    assert not root.exists()


@pytest.mark.parametrize("name", ["qemu-root-", "qemu-root-7x", "qemu-root", "x-qemu-root-7", "7"])
def test_only_libxls_directories(asking: Built, held: Held, tmp_path: Path, name: str) -> None:
    """A directory of any other name is as full as it is."""
    folder = tmp_path / name
    folder.mkdir()
    (folder / "maxmemd.sock").hardlink_to(held.apart)
    with Locked(asking, program="locked") as program:
        assert program.do("rmdir", folder) == (-1, errno.ENOTEMPTY)
    assert (folder / "maxmemd.sock").exists()


def test_only_our_link(asking: Built, held: Held, root: Path, tmp_path: Path) -> None:
    """Whatever else is in libxl's directory stays; a link to one is not followed."""
    (root / "maxmemd.sock").write_text("precious")
    with Locked(asking, program="locked") as program:
        assert program.do("rmdir", root) == (-1, errno.ENOTEMPTY)
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "maxmemd.sock").hardlink_to(held.apart)
        (tmp_path / "qemu-root-8").symlink_to(tmp_path / "elsewhere")
        assert program.do("rmdir", tmp_path / "qemu-root-8") == (-1, errno.ENOTDIR)
        assert program.said == ""
    assert (root / "maxmemd.sock").read_text() == "precious"
    assert (tmp_path / "elsewhere" / "maxmemd.sock").exists()


def _whole_life(built: Built, root: Path, domid: int, *wrapper: str, **more: object) -> str:
    with Locked(built, *wrapper, **more) as qemu:
        steps: Sequence[tuple[object, ...]] = [
            ("rmdir", root / "qemu-root-1"),
            ("populate", domid, 1000),
            ("chroot", root / "nothing"),
            ("chroot", root),
            ("become", BASE + domid),
            ("populate", domid, 2000),
            ("populate", domid + 1, 2000),
        ]
        for words in steps:
            qemu.do(*words)
    return qemu.said


def test_valgrind_from_within(asking: Built, held: Held, root: Path, web: int) -> None:
    """No error and no leak of ours."""
    said = _whole_life(asking, root, web, *valgrind(), "--vgdb=no")
    assert "no headroom for" in said
    assert "==" not in said
    assert len(by(held.daemon, web)) == 2


def test_sanitizers_from_within(sanitized: Built, held: Held, root: Path, web: int) -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer have nothing to say."""
    sanitized.socket = held.daemon.socket
    sanitized.conf = f"wait_ms=3000\ndevice_model_socket = {held.apart}"
    said = _whole_life(sanitized, root, web, ASAN_OPTIONS="detect_leaks=0")  # it has no /proc
    assert "no headroom for" in said
    assert "Sanitizer" not in said
    assert len(by(held.daemon, web)) == 2
