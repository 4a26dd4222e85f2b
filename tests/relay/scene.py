"""A xenstore with guests in it, the relay beside it, and what libxl and stub domains do there."""

import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from maxmemd.relay.relay import Relay
from maxmemd.xen.xs_wire import Connection
from tests.relay.daemon import GRANTED
from tests.support.stub import Stub
from tests.support.tree import Rights
from tests.support.until import until
from tests.support.xenstored import FakeXenstored

UUID = "5b0b0000-0000-4000-8000-{:012d}"
WITHIN_S = 60.0
QUIET_S = 0.4
"""After so long of nothing it is believed that nothing comes."""


def uuid_of(domid: int) -> str:
    """Return the UUID that a scene gives a domain unless told."""
    return UUID.format(domid)


class Scene:
    """A xenstored, the domains in it, and a relay in a thread of this process."""

    def __init__(self, directory: Path, daemon: Path, *, patience_s: float = WITHIN_S) -> None:
        self.fake = FakeXenstored(directory / "xs")
        self.directory, self.daemon, self.patience_s = directory, daemon, patience_s
        self.boot = "one-boot"
        self.relay: Relay | None = None
        self._thread: threading.Thread | None = None
        self._guests: dict[int, Connection] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end_relay()
        for guest in self._guests.values():
            guest.close()
        self.fake.stop()

    def start_relay(self) -> None:
        """Start a relay and wait until it is ready."""
        ready = threading.Event()
        self.relay = Relay(
            str(self.daemon),
            self.boot,
            xenstored=self.fake.path,
            patience_s=self.patience_s,
            on_ready=ready.set,
        )
        self._thread = threading.Thread(target=self.relay.run)
        self._thread.start()
        assert ready.wait(WITHIN_S)

    def end_relay(self) -> None:
        """Stop the relay, if it runs."""
        if self.relay is not None and self._thread is not None:
            self.relay.stop()
            self._thread.join(WITHIN_S)
            assert not self._thread.is_alive()
        self.relay = self._thread = None

    def domain(self, domid: int, uuid: str | None = None) -> None:
        """Make a domain's path as libxl_create.c does, and introduce it."""
        home = f"/local/domain/{domid}"
        self.fake.put(home, "", "n0", f"r{domid}")
        self.fake.put(f"{home}/vm", f"/vm/{uuid or uuid_of(domid)}")
        self.fake.put(f"{home}/data", "", f"n{domid}")
        self.fake.fire("@introduceDomain")

    def stub(self, domid: int, target: int, target_uuid: str | None = None) -> None:
        """Make a domain and its stub domain, as libxl_dm.c:libxl__spawn_stub_dm does."""
        self.domain(target, target_uuid)
        self.domain(domid)
        self.fake.put(f"/local/domain/{target}/image/device-model-domid", str(domid))
        self.fake.put(f"/local/domain/{domid}/target", str(target))
        self.fake.tree.targets[domid] = target

    def destroy(self, domid: int) -> None:
        """Remove a domain's path."""
        self.fake.drop(f"/local/domain/{domid}")
        self.fake.fire("@releaseDomain")

    def guest(self, domid: int) -> Connection:
        """Return a guest's own connection to xenstored."""
        if domid not in self._guests:
            self._guests[domid] = Connection(self.fake.socket_of(domid))
        return self._guests[domid]

    def ask(self, domid: int, words: str) -> None:
        """Write a request as a stub domain does, once its node is there."""
        until("there is a request node", lambda: self.rights(domid, "request") is not None)
        self.guest(domid).write("maxmem/request", words)

    def answer(self, domid: int, words: str) -> str:
        """Write a request and return the reply to it."""
        self.ask(domid, words)
        return self.reply(domid, words.split(" ", maxsplit=1)[0])

    def reply(self, domid: int, request: str) -> str:
        """Wait for the reply to a request, and return it without its ID."""
        head = f"{request} "
        until(f"{request} is answered", lambda: self.read(domid, "reply").startswith(head))
        return self.read(domid, "reply").removeprefix(head)

    def read(self, domid: int, node: str) -> str:
        """Return one of a stub domain's nodes, as dom0 sees it; "" where it is not there."""
        found = self.fake.nodes.get(f"/local/domain/{domid}/maxmem/{node}", b"")
        return found.decode(errors="replace")

    def rights(self, domid: int, node: str) -> Rights | None:
        """Return the rights of one of a stub domain's nodes, None where it is not there."""
        path = f"/local/domain/{domid}/maxmem/{node}".rstrip("/")
        return self.fake.rights(path) if path in self.fake.nodes else None

    def below(self, domid: int) -> list[str]:
        """Return all nodes of a domain."""
        home = f"/local/domain/{domid}"
        return [p for p in list(self.fake.nodes) if p == home or p.startswith(f"{home}/")]

    def stays(self, what: str, true: Callable[[], object]) -> None:
        """Demand that something is true for a while."""
        until_s = time.monotonic() + QUIET_S
        while time.monotonic() < until_s:
            assert true(), what
            time.sleep(0.02)


def command_of(scene: Scene) -> list[str]:
    """Return the command that runs a relay in a process of its own."""
    words = ["relay", "--socket", str(scene.daemon), "--xenstore", str(scene.fake.path)]
    return [sys.executable, "-m", "maxmemd.__main__", *words]


def notices(directory: Path) -> socket.socket:
    """Return a socket on which systemd would be told."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with suppress(FileNotFoundError):
        (directory / "notify").unlink()
    sock.bind(str(directory / "notify"))
    sock.settimeout(WITHIN_S)
    return sock


S, N = 21, 20


ROUTE = f"POST /v1/domains/{N}/relayed-headroom"


def another_is_served(scene: Scene, daemon: Stub, target: int = 30) -> bool:
    """Make another pair, and say whether its request is granted."""
    daemon.replies[f"POST /v1/domains/{target}/relayed-headroom"] = GRANTED
    scene.stub(target + 1, target)
    answer: Callable[[int, str], str] = scene.answer
    return answer(target + 1, "z1 headroom 7") == "granted 4096"
