"""A small xenstored on Unix sockets: what tree.py has, watches, and ways to misbehave.

A socket says who connects, as the kernel's ring of a guest does: `path` is dom0's.
"""

import contextlib
import errno
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.support.tree import Denied, Rights, Tree

HEADER = struct.Struct("<IIII")
PAYLOAD_MAX = 4096
DIRECTORY, READ, GET_PERMS, WATCH, UNWATCH, START, END = range(1, 8)
WRITE, RM, SET_PERMS, EVENT, ERROR, PART = 11, 13, 14, 15, 16, 22
Answer = tuple[int, bytes]


@dataclass(eq=False)
class Client:
    """One connection, whose it is, and what is open on it."""

    sock: socket.socket
    domid: int
    watches: list[tuple[str, str]] = field(default_factory=list)
    transactions: dict[int, tuple[Tree, Tree]] = field(default_factory=dict)


class FakeXenstored:
    """Serves a tree. `conflicts` transactions end with EAGAIN first; `answer` may be replaced.

    What is in `mute` gets no answer; `asked` is what came.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = Tree()
        self.conflicts = 0
        self.generation = 1
        self.clients: list[Client] = []
        self.answer: Callable[[int, bytes], Answer | None] | None = None
        self.asked: list[int] = []
        self.mute: set[int] = set()
        self._lock = threading.RLock()
        self._numbers = 0
        self._listeners: dict[int, socket.socket] = {}
        self.start()

    @property
    def nodes(self) -> dict[str, bytes]:
        """The nodes by path; what is put there is dom0's."""
        return self.tree.nodes

    @nodes.setter
    def nodes(self, nodes: dict[str, bytes]) -> None:
        self.tree.nodes = nodes

    def start(self) -> None:
        """Listen for dom0, and for the domains of before."""
        for domid in (0, *self._listeners):
            self.socket_of(domid)

    def socket_of(self, domid: int) -> Path:
        """Listen for a domain; return where."""
        path = self.path if domid == 0 else self.path.with_name(f"{self.path.name}-{domid}")
        path.unlink(missing_ok=True)
        listener = self._listeners[domid] = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        threading.Thread(target=self._accept, args=[listener, domid], daemon=True).start()
        return path

    def stop(self) -> None:
        """Go away, with every connection."""
        for listener in self._listeners.values():
            with contextlib.suppress(OSError):  # it has gone away before
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def cut(self) -> None:
        """Cut every connection."""
        for client in self.clients:
            with contextlib.suppress(OSError):  # the other side has closed it
                client.sock.shutdown(socket.SHUT_RDWR)
        self.clients.clear()

    def put(self, path: str, value: str, *rights: str) -> None:
        """Write a node as dom0 does, and fire its watches."""
        with self._lock:
            self.tree.write(0, path, value.encode())
            if rights:
                self.tree.set_rights(0, path, rights)
            self._tell(self.tree)

    def drop(self, path: str) -> None:
        """Remove a node as dom0 does, and fire its watches."""
        with self._lock:
            self.tree.remove(0, path)
            self._tell(self.tree)

    def rights(self, path: str) -> Rights:
        """Return a node's rights."""
        return self.tree.rights_of(path)

    def fire(self, path: str) -> None:
        """Fire the watches of a path."""
        for client in self.clients:
            for watched, token in list(client.watches):
                under = path.startswith(f"{watched}/") or watched.startswith(f"{path}/")
                if path == watched or under:
                    self._event(client, path if len(path) > len(watched) else watched, token)

    def _tell(self, tree: Tree) -> None:
        """Fire the watches of a change; a removal fires every watch below it too."""
        self.generation += bool(tree.changed)
        for path in tree.changed:
            self.fire(path)
        tree.changed.clear()

    def _event(self, client: Client, path: str, token: str) -> None:
        with contextlib.suppress(OSError):  # it is going
            client.sock.sendall(message(EVENT, 0, f"{path}\0{token}\0".encode()))

    def _obey(self, client: Client, kind: int, transaction: int, body: bytes) -> Answer | None:
        """Do what a good xenstored does."""
        words = body.split(b"\0")
        path = words[0].decode()
        if not path.startswith(("/", "@")) and client.domid:
            path = f"/local/domain/{client.domid}/{path}"
        _, tree = client.transactions.get(transaction, (self.tree, self.tree))
        do = {
            READ: partial(self._read, tree),
            DIRECTORY: partial(self._directory, tree),
            PART: partial(self._part, tree),
            GET_PERMS: partial(self._get_perms, tree),
            WRITE: partial(self._write, tree),
            RM: partial(self._remove, tree),
            SET_PERMS: partial(self._set_perms, tree),
            WATCH: self._watch,
            UNWATCH: self._unwatch,
            START: self._start,
            END: partial(self._end, transaction),
        }.get(kind)
        if do is None:
            return ERROR, b"ENOSYS\0"
        try:
            answer = do(client, path, body.partition(b"\0")[2])
        except Denied as denied:
            return ERROR, f"{denied}\0".encode()
        if tree is self.tree:
            self._tell(tree)
        return (ERROR, b"E2BIG\0") if len(answer) > PAYLOAD_MAX else (kind, answer)

    def _read(self, tree: Tree, client: Client, path: str, _: bytes) -> bytes:
        return tree.read(client.domid, path)

    def _directory(self, tree: Tree, client: Client, path: str, _: bytes) -> bytes:
        return joined(tree.directory(client.domid, path))

    def _part(self, tree: Tree, client: Client, path: str, rest: bytes) -> bytes:
        """Answer with as many whole names as fit; the last part ends with an empty one."""
        names = joined(tree.directory(client.domid, path))[int(rest.split(b"\0")[0]) :]
        head = b"%d\0" % self.generation
        room = PAYLOAD_MAX - len(head) - 1
        if len(names) <= room:
            return head + names + b"\0"
        return head + names[: names.rindex(b"\0", 0, room) + 1]

    def _get_perms(self, tree: Tree, client: Client, path: str, _: bytes) -> bytes:
        return joined(tree.get_rights(client.domid, path))

    def _write(self, tree: Tree, client: Client, path: str, value: bytes) -> bytes:
        tree.write(client.domid, path, value)
        return b"OK\0"

    def _remove(self, tree: Tree, client: Client, path: str, _: bytes) -> bytes:
        tree.remove(client.domid, path)
        return b"OK\0"

    def _set_perms(self, tree: Tree, client: Client, path: str, rest: bytes) -> bytes:
        rights = tuple(word.decode() for word in rest.split(b"\0") if word)
        tree.set_rights(client.domid, path, rights)
        return b"OK\0"

    def _watch(self, client: Client, path: str, rest: bytes) -> bytes:
        watch = path, rest.split(b"\0")[0].decode()
        if watch in client.watches:
            raise Denied(errno.EEXIST)
        client.watches.append(watch)
        return b"OK\0"

    def _unwatch(self, client: Client, path: str, rest: bytes) -> bytes:
        watch = path, rest.split(b"\0")[0].decode()
        if watch not in client.watches:
            raise Denied(errno.ENOENT)
        client.watches.remove(watch)
        return b"OK\0"

    def _start(self, client: Client, *_: object) -> bytes:
        self._numbers += 1
        client.transactions[self._numbers] = self.tree.copy(), self.tree.copy()
        return b"%d\0" % self._numbers

    def _end(self, transaction: int, client: Client, path: str, _: bytes) -> bytes:
        before, tree = client.transactions.pop(transaction)
        if path.rpartition("/")[2] == "F":
            return b"OK\0"
        clash = any(before.state(path) != self.tree.state(path) for path in tree.touched)
        if clash or self.conflicts:
            self.conflicts -= bool(self.conflicts)
            raise Denied(errno.EAGAIN)
        self._merge(before, tree)
        return b"OK\0"

    def _merge(self, before: Tree, tree: Tree) -> None:
        """Do to the tree what a transaction did to its copy of it."""
        for had, has, now in (
            (before.nodes, tree.nodes, self.tree.nodes),
            (before.rights, tree.rights, self.tree.rights),
        ):
            for path in had.keys() - has.keys():
                now.pop(path, None)
            now.update({path: has[path] for path in has if had.get(path) != has[path]})  # type: ignore[attr-defined, arg-type]
        self.tree.changed += tree.changed
        self._tell(self.tree)

    def _accept(self, listener: socket.socket, domid: int) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            client = Client(sock, domid)
            self.clients.append(client)
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: Client) -> None:
        with client.sock, client.sock.makefile("rb") as stream:
            try:
                while header := stream.read(HEADER.size):
                    self._do(client, header, stream.read(HEADER.unpack(header)[3]))
            except OSError:
                return
            finally:
                if client in self.clients:
                    self.clients.remove(client)

    def _do(self, client: Client, header: bytes, body: bytes) -> None:
        kind, request, transaction, _ = HEADER.unpack(header)
        with self._lock:
            self.asked.append(kind)
            if kind in self.mute:
                return
            if self.answer is None:
                answer = self._obey(client, kind, transaction, body)
            else:
                answer = self.answer(kind, body)
            if answer is None:
                return
            client.sock.sendall(message(answer[0], request, answer[1]))
            if answer[0] == WATCH:
                path, token, *_ = body.split(b"\0")
                self._event(client, path.decode(), token.decode())


def joined(words: "list[str] | Rights") -> bytes:
    """Return a list as it travels."""
    return b"".join(word.encode() + b"\0" for word in words)


def message(kind: int, request: int, body: bytes) -> bytes:
    """Return a whole message."""
    return HEADER.pack(kind, request, 0, len(body)) + body
