"""A small xenstored on a Unix socket: nodes, transactions, watches, and ways to misbehave."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

HEADER = struct.Struct("<IIII")
READ, WATCH, START, END, WRITE, EVENT, ERROR = 2, 4, 6, 7, 11, 15, 16


class FakeXenstored:
    """Serves `nodes`. `conflicts` transactions end with EAGAIN first; `answer` may be replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nodes: dict[str, bytes] = {}
        self.conflicts = 0
        self.connections: list[socket.socket] = []
        self.watchers: list[socket.socket] = []
        self.answer: Callable[[int, bytes], tuple[int, bytes] | None] = self.obey
        self.pending: dict[str, bytes] = {}
        self.listener: socket.socket | None = None
        self.start()

    def start(self) -> None:
        """Listen."""
        self.path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        threading.Thread(target=self._accept, args=[self.listener], daemon=True).start()

    def stop(self) -> None:
        """Go away, with every connection."""
        if self.listener is not None:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
        self.cut()

    def cut(self) -> None:
        """Cut every connection."""
        for connection in self.connections:
            with contextlib.suppress(OSError):  # the other side has closed it
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()
        self.watchers.clear()

    def fire(self, path: str) -> None:
        """Announce a change to whoever watches."""
        for watcher in self.watchers:
            watcher.sendall(message(EVENT, 0, path.encode() + b"\0maxmemd\0"))

    def obey(self, kind: int, body: bytes) -> tuple[int, bytes] | None:
        """Do what a good xenstored does; None is no answer at all."""
        path, _, rest = body.partition(b"\0")
        if kind == READ:
            value = self.nodes.get(path.decode())
            return (ERROR, b"ENOENT\0") if value is None else (READ, value)
        if kind == WRITE:
            self.pending[path.decode()] = rest
            return WRITE, b"OK\0"
        if kind == START:
            self.pending.clear()
            return START, b"7\0"
        if kind == END:
            return self._end(path)
        return kind, b"OK\0"

    def _end(self, how: bytes) -> tuple[int, bytes]:
        if how == b"T" and self.conflicts:
            self.conflicts -= 1
            return ERROR, b"EAGAIN\0"
        if how == b"T":
            self.nodes |= self.pending
        self.pending.clear()
        return END, b"OK\0"

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            try:
                while header := stream.read(HEADER.size):
                    kind, request, _, size = HEADER.unpack(header)
                    body = stream.read(size)
                    answer = self.answer(kind, body)
                    if answer is None:
                        continue
                    data = message(answer[0], request, answer[1])
                    if kind == WATCH:
                        self.watchers.append(connection)
                        data += message(EVENT, 0, body)
                    connection.sendall(data)
            except OSError:
                return


def message(kind: int, request: int, body: bytes) -> bytes:
    """Return a whole message."""
    return HEADER.pack(kind, request, 0, len(body)) + body
