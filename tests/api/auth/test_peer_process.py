"""A request is only its living peer's: whoever opened its connection must not have ended since."""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from maxmemd.api.auth import peer_process
from maxmemd.api.auth.peer_process import PeerProcess, process_of
from tests.support.http import connect
from tests.support.outside import Outside, open_folder
from tests.support.until import until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its uid")
BASE = 300_000
ROMS = "/v1/domains/1/components/device-model/roms"
KERNELS = {"since 6.5": peer_process.SO_PEERPIDFD, "before": 9999}
"""The socket option, and one that no kernel has."""


class Child:
    """A process that has connected, and sent something, and waits to be killed."""

    def __init__(self, path: Path, uid: int = 0, sent: bytes = b"") -> None:
        told, telling = os.pipe()
        self._is_gone = False
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(told)
                os.setresuid(uid, uid, uid)
                link = connect(path, 20)
                link.sendall(sent)
                os.write(telling, b"!")
                signal.pause()
            finally:
                os._exit(1)
        os.close(telling)
        with os.fdopen(told) as said:
            assert said.read(1) == "!"

    def kill(self, *, is_waited_for: bool = True) -> None:
        """Kill it, if it lives; unless it is waited for its pid stays in use."""
        if self._is_gone:
            return
        self._is_gone = is_waited_for
        os.kill(self.pid, signal.SIGKILL)
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        if is_waited_for:
            os.waitpid(self.pid, 0)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """Give a listening socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "sock"))
        sock.listen(8)
        yield sock


def accepted(listener: socket.socket) -> socket.socket:
    """Return the next connection."""
    connection, _ = listener.accept()
    return connection


@pytest.mark.parametrize("option", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("is_waited_for", [False, True], ids=["zombie", "gone"])
@pytest.mark.parametrize("is_accepted_first", [False, True], ids=["waiting", "accepted"])
def test_a_process_that_ended(
    listener: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    option: int,
    *,
    is_waited_for: bool,
    is_accepted_first: bool,
) -> None:
    """It is seen to have ended, before its connection was accepted or after, waited for or not."""
    monkeypatch.setattr(peer_process, "SO_PEERPIDFD", option)
    child = Child(Path(listener.getsockname()))
    with closing(accepted(listener)) as connection:
        if is_accepted_first:
            process = process_of(connection, child.pid, 0)
            assert process.is_alive
        child.kill(is_waited_for=is_waited_for)
        if not is_accepted_first:
            process = process_of(connection, child.pid, 0)
        assert not process.is_alive
        process.release()
    child.kill()


def test_a_pid_that_another_user_has_now(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old kernel finds the process of today, which is not the one that connected."""
    monkeypatch.setattr(peer_process, "SO_PEERPIDFD", KERNELS["before"])
    with socket.socket(socket.AF_UNIX) as mine:
        mine.connect(listener.getsockname())
        with closing(accepted(listener)) as connection:
            uid = os.geteuid()
            assert process_of(connection, os.getpid(), uid).is_alive
            assert not process_of(connection, os.getpid(), uid + 1).is_alive
            monkeypatch.setattr(peer_process, "_uids_of", _hidden)
            assert process_of(connection, os.getpid(), uid + 1).is_alive


def _hidden(pid: int) -> set[int]:
    raise FileNotFoundError(pid)


def test_without_a_descriptor_it_cannot_be_told(listener: socket.socket) -> None:
    """Then it counts as ended."""

    class Full:
        def getsockopt(self, level: int, option: int, /) -> int:
            raise OSError(24, "too many open files")

    assert not process_of(Full(), os.getpid(), os.geteuid()).is_alive


def test_the_last_user_closes_it() -> None:
    """The connection may end before its requests: each looks at the process all the same."""
    descriptor = os.pidfd_open(os.getpid())
    process = PeerProcess(descriptor)
    with process, process:
        process.release()
        assert process.is_alive
    assert not process.is_alive
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


TAKES = """
import fcntl, os, runpy, sys
high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 20) for fd in sys.argv[1].split(",")]
for place, fd in enumerate(high):
    os.dup2(fd, 3 + place)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2")
os.environ["LISTEN_FDNAMES"] = "maxmemd.socket:device-model"
sys.argv[1:] = sys.argv[2:]
runpy.run_module("maxmemd", run_name="__main__")
"""


class Activated(Outside):
    """A daemon on two sockets that are held for it, in which connections wait until it starts."""

    def __init__(self, folder: Path) -> None:
        config = folder / "m.toml"
        config.write_text(f'device_model_base = "uid {BASE}"\n')
        self.sockets = [folder / "m.sock", folder / "dm.sock"]
        self.held = []
        for path in self.sockets:
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(str(path))
            path.chmod(0o666)
            sock.listen(64)
            self.held.append(sock)
        fds = [sock.fileno() for sock in self.held]
        self._takes = [sys.executable, "-c", TAKES, ",".join(map(str, fds))]
        options = ("serve", "--hypervisor", "simulated", "--config", str(config))
        super().__init__(folder, options=options, inherits=fds)

    def command(self) -> Sequence[str]:
        """Return the command, with the sockets before its own options."""
        return [*self._takes, *list(super().command())[3:]]

    def close(self) -> None:
        """End it, and the sockets."""
        super().close()
        for sock in self.held:
            sock.close()


@pytest.fixture(scope="module")
def activated() -> Iterator[Activated]:
    """Give one that runs, in a folder that every user may enter."""
    with open_folder() as folder, Activated(folder) as daemon:
        yield daemon


def request(name: str) -> bytes:
    """Return a request that sets a component of domain 1."""
    body = json.dumps({"amount_kib": 64, "reason": name}).encode()
    return (
        f"PUT {ROMS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


WHO = {"root": (0, 0), "a device model": (BASE + 1, 0), "a device model by its own": (BASE + 1, 1)}
"""A uid, and which of the two sockets it comes by."""
INHERITED = "inherited"


def reasons(daemon: Activated) -> set[str]:
    """Return the reasons of what was carried out."""
    entries = daemon.ask("GET", "/v1/domains/1/history")[1]["entries"]
    return {one["wish"].get("reason") for one in entries if one["kind"] == "component-set"}


@as_root
def test_a_request_that_waited_until_its_process_was_gone(activated: Activated) -> None:
    """It is refused, by whichever socket it came; what a living process sent is carried out."""
    activated.stop()
    before = len(activated.said())
    with ExitStack() as stack:
        children: dict[str, Child] = {}
        for who, (uid, index) in WHO.items():
            for name in (f"{who}, dead", f"{who}, alive"):
                children[name] = Child(activated.sockets[index], uid, request(name))
                stack.callback(children[name].kill)
        for name in [name for name in children if name.endswith("dead")]:
            children[name].kill()
        activated.start()
        living = {name for name in children if name.endswith("alive")}
        until("the living are served", lambda: living <= reasons(activated))
        refused = "the process that opened its connection has ended"
        until("the dead are refused", lambda: activated.said()[before:].count(refused) == len(WHO))
        assert living == {one for one in reasons(activated) if one.endswith((", dead", ", alive"))}


Left = Callable[[socket.socket], tuple[int, Any]]


def left_to_a_child(path: Path, uid: int, first: bytes, then: Left) -> tuple[int, Any]:
    """Connect in a process that sends `first`, and ends; a child of it goes on with `then`."""
    told, telling = os.pipe()
    ended, ending = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:
            os.close(ending)
            os.setresuid(uid, uid, uid)
            link = connect(path, 20)
            link.sendall(first)
            if os.fork() == 0:
                os.read(ended, 1)
                os.write(telling, json.dumps(then(link)).encode())
        finally:
            os._exit(0)
    os.waitpid(parent, 0)
    os.close(ending)
    os.close(telling)
    os.close(ended)
    with os.fdopen(told) as said:
        status, body = json.loads(said.read())
    return status, body


def after(more: bytes) -> Left:
    """Return what sends more bytes, and takes the answer."""

    def ask(link: socket.socket) -> tuple[int, Any]:
        link.sendall(more)
        reply = HTTPResponse(link)
        reply.begin()
        return reply.status, json.loads(reply.read())

    return ask


@as_root
@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("sent", [0, 30, -5], ids=["nothing", "half a head", "half a body"])
def test_a_connection_that_was_left_to_a_child(activated: Activated, who: str, sent: int) -> None:
    """Who inherits it is not who opened it, however much of the request had come by then."""
    uid, index = WHO[who]
    path, whole = activated.sockets[index], request(INHERITED)
    first, more = whole[: sent or None] if sent else b"", whole[sent:] if sent else whole
    status, body = left_to_a_child(path, uid, first, after(more))
    assert (status, body["code"]) == (403, "caller-gone")
    assert INHERITED not in reasons(activated)


@as_root
def test_a_stream_that_was_left_to_a_child(activated: Activated) -> None:
    """It begins for nobody who has ended."""
    path = activated.sockets[0]
    get = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    status, body = left_to_a_child(path, 0, b"", after(get))
    assert (status, body["code"]) == (403, "caller-gone")


def test_descriptors_come_back(activated: Activated) -> None:
    """A process is held as long as its connection and no longer."""
    assert activated.ask("GET", "/v1/host")[0] == 200
    before = activated.descriptors()
    links = [activated.open() for _ in range(20)]
    for link in links:
        assert link.ask("GET", "/v1/host")[0] == 200
    assert activated.descriptors() > before + 20
    for link in links:
        link.close()
    until("they are closed", lambda: activated.descriptors() <= before)
