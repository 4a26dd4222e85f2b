"""A simulated host in a process of its own, so that it survives a kill of the daemon. Tests only.

    with SimHost() as sim:
        sim.call("create", "web", memory=Memory.of_mib(512))
        sim.hypervisor().domains()

Requests and answers are pickles behind their length. A connection is served by a thread of its
own; a watch is a connection on which the host sends one byte for every call.
"""

import copyreg
import os
import pickle
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread, current_thread
from types import TracebackType
from typing import Any, Self

from maxmemd.errors import HypervisorError, MaxmemError, XenstoreError
from maxmemd.policy.facts import HostFacts, StoreFacts, XenFacts
from maxmemd.units import Memory
from maxmemd.xen.simulated import SimulatedHost

_LENGTH = struct.Struct("!I")
_ROOT = Path(__file__).parents[2]


class SimHost:
    """The process, and a way to call any method of its SimulatedHost."""

    def __init__(self, total: Memory = Memory.of_mib(16384)) -> None:  # noqa: B008
        self._directory = tempfile.TemporaryDirectory(prefix="simhost-")
        self.path = Path(self._directory.name, "socket")
        arguments = [sys.executable, "-m", "tests.support.simhost", str(self.path), str(total.kib)]
        self._process = subprocess.Popen(arguments, cwd=_ROOT, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", "the simulated host did not start"
        self._connection = Connection(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def call(self, verb: str, *args: Any, **options: Any) -> Any:
        """Call a method of the SimulatedHost, or of an attribute: `machine.domain`."""
        return self._connection.call(verb, *args, **options)

    def hypervisor(self) -> "RemoteHypervisor":
        """Open a Hypervisor."""
        return RemoteHypervisor(self.path)

    def xenstore(self) -> "RemoteXenstore":
        """Open a Xenstore."""
        return RemoteXenstore(self.path)

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.terminate()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._directory.cleanup()


class RemoteHypervisor:
    """A `Hypervisor` on the simulated host at a socket's path, from any process."""

    def __init__(self, path: Path) -> None:
        self._connection = Connection(path)

    def domains(self) -> Sequence[XenFacts]:
        """Return every domain by rising domid."""
        answer: Sequence[XenFacts] = self._connection.call("xen.domains")
        return answer

    def domain(self, domid: int) -> XenFacts:
        """Return one domain."""
        answer: XenFacts = self._connection.call("xen.domain", domid)
        return answer

    def host(self) -> HostFacts:
        """Return the host's totals."""
        answer: HostFacts = self._connection.call("xen.host")
        return answer

    def set_max_mem(self, domid: int, limit: Memory) -> None:
        """Set max_pages."""
        self._connection.call("xen.set_max_mem", domid, limit)

    def set_pod_target(self, domid: int, target: Memory) -> None:
        """Set the PoD target."""
        self._connection.call("xen.set_pod_target", domid, target)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class RemoteXenstore:
    """A `Xenstore` on the simulated host at a socket's path, from any process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = Connection(path)
        self._watches: list[tuple[Connection, Thread]] = []

    def facts(self, domid: int) -> StoreFacts:
        """Return name and memory nodes."""
        answer: StoreFacts = self._connection.call("store.facts", domid)
        return answer

    def write(
        self, domid: int, uuid: str, *, target: Memory | None, static_max: Memory | None
    ) -> None:
        """Write memory nodes."""
        self._connection.call("store.write", domid, uuid, target=target, static_max=static_max)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` from a thread of its own."""
        connection = Connection(self._path)
        connection.call("watch")
        thread = Thread(target=connection.listen, args=[changed], daemon=True)
        thread.start()
        self._watches.append((connection, thread))

    def close(self) -> None:
        """End the watches and close the connection."""
        while self._watches:
            connection, thread = self._watches.pop()
            connection.end()  # the descriptor stays open until no thread waits on it
            if thread is not current_thread():
                thread.join()
            connection.close()
        self._connection.close()


class Connection:
    """One connection to the host; any thread may call."""

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))

    def call(self, verb: str, *args: Any, **options: Any) -> Any:
        """Call a verb of the host; return what it returns, or raise what it raises."""
        with self._lock:
            send(self._socket, (verb, args, options))
            good, answer = receive(self._socket)
        if not good:
            raise answer
        return answer

    def listen(self, changed: Callable[[], None]) -> None:
        """Call `changed` for every byte that comes, until the connection ends."""
        while self._socket.recv(1):
            changed()

    def end(self) -> None:
        """End the connection, and a `listen` that waits on it or is about to."""
        with suppress(OSError):  # the host was first
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection and give its descriptor back."""
        self.end()
        self._socket.close()


def serve(path: str, host: SimulatedHost) -> None:
    """Serve a host until the process is ended."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        client, _ = server.accept()
        Thread(target=_serve, args=[client, host], daemon=True).start()


def _serve(client: socket.socket, host: SimulatedHost) -> None:
    """Answer one client until it goes."""
    xen, store = host.hypervisor(), host.xenstore()

    def told() -> None:
        with suppress(OSError):  # the client is gone
            client.sendall(b"!")

    def answer(verb: str, args: Sequence[Any], options: dict[str, Any]) -> tuple[bool, Any]:
        try:
            return True, find(verb)(*args, **options)
        except MaxmemError as error:
            return False, error

    def find(verb: str) -> Any:
        target: Any = {"xen": xen, "store": store}.get(verb.partition(".")[0])
        names = verb.split(".") if target is None else verb.split(".")[1:]
        for name in names:
            target = getattr(host if target is None else target, name)
        return target

    with suppress(OSError):
        while True:
            verb, args, options = receive(client)
            if verb == "watch":
                send(client, (True, None))
                store.watch(told)
            else:
                send(client, answer(verb, args, options))
    store.close()
    client.close()


def send(to: socket.socket, value: object) -> None:
    """Send a value."""
    data = pickle.dumps(value)
    to.sendall(_LENGTH.pack(len(data)) + data)


def receive(source: socket.socket) -> Any:
    """Return the next value. Raises ConnectionError at the end."""
    (length,) = _LENGTH.unpack(_exactly(source, _LENGTH.size))
    return pickle.loads(_exactly(source, length))


def _exactly(source: socket.socket, length: int) -> bytes:
    data = source.recv(length, socket.MSG_WAITALL)
    if len(data) < length:
        raise ConnectionError("the other end is gone")
    return data


def _memory(kib: int) -> Memory:
    return Memory(kib=kib)


def _reduce_hypervisor_error(error: HypervisorError) -> tuple[Any, ...]:
    return HypervisorError.of, (error.what, error.domid, error.errno)


def _subclasses(kind: type[HypervisorError]) -> list[type[HypervisorError]]:
    return [kind, *(deeper for below in kind.__subclasses__() for deeper in _subclasses(below))]


copyreg.pickle(Memory, lambda amount: (_memory, (amount.kib,)))
copyreg.pickle(XenstoreError, lambda error: (XenstoreError, (error.what, error.errno)))
for _kind in _subclasses(HypervisorError):
    copyreg.pickle(_kind, _reduce_hypervisor_error)


if __name__ == "__main__":
    os.umask(0o077)
    serve(sys.argv[1], SimulatedHost(total=Memory(kib=int(sys.argv[2]))))
