"""Speak xenstore's wire protocol with xenstored, every wait bounded.

It is the stable interface that every guest kernel speaks (xen/include/public/io/xs_wire.h,
docs/misc/xenstore.txt). libxenstore is not used: its calls wait for ever when xenstored hangs, and
the arbiter must not. What comes back is bounded and hostile until it is parsed.
"""

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

SOCKETS = (Path("/run/xenstored/socket"), Path("/var/run/xenstored/socket"))
DEVICE = Path("/dev/xen/xenbus")
"""What there is where xenstore is a domain of its own: the same protocol, by way of the kernel."""

DIRECTORY, READ, GET_PERMS, WATCH, UNWATCH = 1, 2, 3, 4, 5
TRANSACTION_START, TRANSACTION_END, WRITE, RM, SET_PERMS = 6, 7, 11, 13, 14
WATCH_EVENT, ERROR, DIRECTORY_PART = 15, 16, 22

PAYLOAD_MAX = 4096
"""XENSTORE_PAYLOAD_MAX of xs_wire.h."""

MOST_EVENTS = 256
"""So many are taken at once, however fast more of them come."""
ATTEMPTS = 32
"""Transactions, and lists that change while they are read, are begun anew so many times."""

_HEADER = struct.Struct("<IIII")  # struct xsd_sockmsg: type, req_id, tx_id, len


class Connection:
    """One connection. Raises OSError: xenstored's own errors, or that it cannot be reached."""

    def __init__(self, path: Path | None = None, *, patience_s: float = 5.0) -> None:
        """Connect to a socket or a device; None looks for where xenstored is."""
        self._fd = _open(path or _place(), patience_s)
        self._patience_s = patience_s
        self._request = 0
        self._received = bytearray()
        self._events: dict[str, None] = {}

    def read(self, *paths: str, transaction: int = 0) -> list[bytes | None]:
        """Return the nodes' values in order, all asked at once; None: there is no such node."""
        return self._ask_each(READ, transaction, paths)

    def permissions(self, *paths: str, transaction: int = 0) -> list[list[str] | None]:
        """Return who may what with each node, such as ["n0", "r5"]; None: there is no such node.

        The first is the owner, and what is allowed to whoever is not named after it.
        """
        answers = self._ask_each(GET_PERMS, transaction, paths)
        return [None if answer is None else _strings(answer) for answer in answers]

    def children(self, path: str) -> list[str]:
        """Return the names of a node's children, however many messages they fill.

        There are none where there is no such node.
        """
        try:
            return _strings(self._ask(DIRECTORY, 0, path.encode() + b"\0"))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return []
            if error.errno != errno.E2BIG:
                raise
        for _ in range(ATTEMPTS):
            names = self._in_parts(path)
            if names is not None:
                return names
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def write(self, path: str, value: str, transaction: int = 0) -> None:
        """Set a node's value; the node is made if need be."""
        self._ask(WRITE, transaction, path.encode() + b"\0" + value.encode())

    def permit(self, path: str, *permissions: str, transaction: int = 0) -> None:
        """Set who may what with a node, in the words of `permissions`."""
        words = "".join(f"{word}\0" for word in permissions)
        self._ask(SET_PERMS, transaction, f"{path}\0{words}".encode())

    def remove(self, path: str, transaction: int = 0) -> None:
        """Remove a node with all below it."""
        self._ask(RM, transaction, path.encode() + b"\0")

    def transact(self, body: Callable[[int], None], *, attempts: int = ATTEMPTS) -> None:
        """Run `body` in a transaction, again while others interfere; abort it if it raises."""
        for _ in range(attempts):
            transaction = int(self._ask(TRANSACTION_START, 0, b"\0").rstrip(b"\0"))
            try:
                body(transaction)
            except BaseException:
                self._end(transaction, b"F\0")
                raise
            if self._end(transaction, b"T\0"):
                return
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def watch(self, path: str, token: str) -> None:
        """Have changes of `path`, and of all below it, announced as `token`; one comes at once."""
        self._ask(WATCH, 0, f"{path}\0{token}\0".encode())

    def unwatch(self, path: str, token: str) -> None:
        """Have a watch end; what it announced already may still come."""
        self._ask(UNWATCH, 0, f"{path}\0{token}\0".encode())

    def events(self, wake_fd: int, timeout_s: float | None = None) -> list[str]:
        """Wait for changes and return their tokens, each once.

        None come once `wake_fd` can be read, or the time is over.
        """
        has_any = self._events or self._received
        if not has_any and _readable(self._fd, wake_fd, within_s=timeout_s) != [self._fd]:
            return []
        taken = 0
        while (self._received or not self._events) and taken < MOST_EVENTS:
            self._message(time.monotonic() + self._patience_s)
            taken += 1
        tokens = list(self._events)
        self._events.clear()
        return tokens

    def close(self) -> None:
        """Close it; twice does no harm."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _ask_each(self, kind: int, transaction: int, paths: tuple[str, ...]) -> list[bytes | None]:
        """Ask the same of several nodes at once; None: there is no such node."""
        requests = [self._send(kind, transaction, path.encode() + b"\0") for path in paths]
        answers = [self._answer(kind, request) for request in requests]
        for answer in answers:
            if isinstance(answer, OSError) and answer.errno != errno.ENOENT:
                raise answer
        return [None if isinstance(answer, OSError) else answer for answer in answers]

    def _in_parts(self, path: str) -> list[str] | None:
        """Return a list that one message cannot hold; None where it changed meanwhile.

        An empty name marks the end (tools/xenstored/core.c:send_directory_part).
        """
        listed, first = b"", b""
        while not listed.endswith(b"\0\0"):
            payload = f"{path}\0{len(listed)}\0".encode()
            generation, _, part = self._ask(DIRECTORY_PART, 0, payload).partition(b"\0")
            first = first or generation
            if generation != first or not part:
                return None
            if listed + part == b"\0":
                return []
            listed += part
        return _strings(listed)

    def _end(self, transaction: int, how: bytes) -> bool:
        """End a transaction; False means that another one interfered."""
        try:
            self._ask(TRANSACTION_END, transaction, how)
        except BlockingIOError:  # EAGAIN
            return False
        return True

    def _ask(self, kind: int, transaction: int, payload: bytes) -> bytes:
        """Send one request and return its answer; an answer of ERROR is raised."""
        answer = self._answer(kind, self._send(kind, transaction, payload))
        if isinstance(answer, OSError):
            raise answer
        return answer

    def _send(self, kind: int, transaction: int, payload: bytes) -> int:
        """Send one request, in one write as the device wants it; return its number."""
        if len(payload) > PAYLOAD_MAX:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        self._request = (self._request + 1) & 0xFFFFFFFF
        message = _HEADER.pack(kind, self._request, transaction, len(payload)) + payload
        if os.write(self._fd, message) != len(message):
            raise ConnectionResetError(errno.ECONNRESET, "cannot send a whole request")
        return self._request

    def _answer(self, kind: int, request: int) -> bytes | OSError:
        """Return the answer to a request; changes that come before it are kept for `events`."""
        deadline = time.monotonic() + self._patience_s
        while True:
            answer, of, body = self._message(deadline)
            if answer == WATCH_EVENT:
                continue
            if of != request or answer not in (kind, ERROR):
                raise OSError(errno.EPROTO, "an answer to nothing that was asked")
            return _error(body) if answer == ERROR else body

    def _message(self, deadline: float) -> tuple[int, int, bytes]:
        """Return the next message; a change is also put with the events, each token once.

        So a guest that changes a node without end costs no memory.
        """
        kind, request, _, size = _HEADER.unpack(self._take(_HEADER.size, deadline))
        if size > PAYLOAD_MAX:
            raise OSError(errno.EPROTO, f"a message of {size} bytes")
        body = self._take(size, deadline)
        if kind == WATCH_EVENT:
            self._events[body.partition(b"\0")[2].rstrip(b"\0").decode(errors="replace")] = None
        return kind, request, body

    def _take(self, size: int, deadline: float) -> bytes:
        while len(self._received) < size:
            left = deadline - time.monotonic()
            if left <= 0 or not _readable(self._fd, within_s=left):
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            chunk = os.read(self._fd, PAYLOAD_MAX + _HEADER.size)
            if not chunk:
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            self._received += chunk
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken


def _readable(*descriptors: int, within_s: float | None = None) -> list[int]:
    """Wait for some of the descriptors and return which; not select(2), which ends at 1024."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(None if within_s is None else within_s * 1e3)]


def _place() -> Path:
    return next((path for path in SOCKETS if path.exists()), DEVICE)


def _open(path: Path, patience_s: float) -> int:
    if path.is_char_device():
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(patience_s)
        connection.connect(str(path))
        connection.setblocking(True)
        return connection.detach()


def is_answer(error: OSError) -> bool:
    """Whether xenstored answered one request with it, so that the connection is still good."""
    lost = isinstance(error, ConnectionError | TimeoutError)
    return not lost and error.errno != errno.EPROTO


def _strings(body: bytes) -> list[str]:
    """Return the strings of a list in which each ends with a NUL."""
    return [text.decode(errors="replace") for text in body.split(b"\0") if text]


def _error(body: bytes) -> OSError:
    """Return xenstored's error, such as ENOENT, as Python's; what is unknown is EIO."""
    name = body.rstrip(b"\0").decode(errors="replace")
    number = getattr(errno, name, errno.EIO) if name.startswith("E") else errno.EIO
    return OSError(number, os.strerror(number))
