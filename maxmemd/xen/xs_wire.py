"""A client of xenstore's wire protocol whose waits all end.

The protocol is stable, since every guest kernel uses it (xen/include/public/io/xs_wire.h,
docs/misc/xenstore.txt). libxenstore is not used: its calls do not return while xenstored hangs.
Replies are bounded, and untrusted until they are parsed.
"""

import errno
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

from maxmemd.xen.xs_socket import find_xenstored, open_xenstored, wait_readable

DIRECTORY, READ, GET_PERMS, WATCH, UNWATCH = 1, 2, 3, 4, 5
TRANSACTION_START, TRANSACTION_END, WRITE, RM, SET_PERMS = 6, 7, 11, 13, 14
WATCH_EVENT, ERROR, DIRECTORY_PART = 15, 16, 22

PAYLOAD_MAX = 4096
"""XENSTORE_PAYLOAD_MAX of xs_wire.h."""

MOST_EVENTS = 256
"""The most messages that one call of `events` reads, however fast more arrive."""
ATTEMPTS = 32
"""How often a transaction, or a list that changes while it is read, is started."""

HEADER = struct.Struct("<IIII")  # struct xsd_sockmsg: type, req_id, tx_id, len


class Connection:
    """One connection. Raises OSError: an error of xenstored's, or of the connection."""

    def __init__(self, path: Path | None = None, *, patience_s: float = 5.0) -> None:
        """Connect to a socket or a device; None searches for xenstored's."""
        self._fd = open_xenstored(path or find_xenstored(), patience_s)
        self._patience_s = patience_s
        self._request = 0
        self._received = bytearray()
        self._events: dict[str, None] = {}

    def read(self, *paths: str, transaction: int = 0) -> list[bytes | None]:
        """Return the nodes' values in order, requested all at once; None for a missing node."""
        return self._ask_each(READ, transaction, paths)

    def permissions(self, *paths: str, transaction: int = 0) -> list[list[str] | None]:
        """Return each node's permissions, such as ["n0", "r5"]; None for a missing node.

        The first names the owner, and the rights of all domains that are not listed after it.
        """
        answers = self._ask_each(GET_PERMS, transaction, paths)
        return [None if answer is None else _strings(answer) for answer in answers]

    def children(self, path: str) -> list[str]:
        """Return the names of a node's children, however many messages they fill.

        A missing node has none.
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
        """Set a node's value; makes the node, and missing parents."""
        self._ask(WRITE, transaction, path.encode() + b"\0" + value.encode())

    def permit(self, path: str, *permissions: str, transaction: int = 0) -> None:
        """Set a node's permissions, in the form that `permissions` returns."""
        payload = "".join(f"{word}\0" for word in (path, *permissions))
        self._ask(SET_PERMS, transaction, payload.encode())

    def remove(self, path: str, transaction: int = 0) -> None:
        """Remove a node and all below it."""
        self._ask(RM, transaction, path.encode() + b"\0")

    def transact(self, body: Callable[[int], None], *, attempts: int = ATTEMPTS) -> None:
        """Run `body` in a transaction, again on conflicts; abort the transaction if it raises."""
        for _ in range(attempts):
            transaction = int(self._ask(TRANSACTION_START, 0, b"\0").rstrip(b"\0"))
            try:
                body(transaction)
            except BaseException as error:
                # On a connection that is lost or late the next answer may be the one before's; it
                # is closed, and xenstored aborts what was open on it.
                if not isinstance(error, OSError) or is_answer(error):
                    self._end(transaction, b"F\0")
                raise
            if self._end(transaction, b"T\0"):
                return
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def watch(self, path: str, token: str) -> None:
        """Watch `path` and all below it; each event carries `token`, and one comes at once."""
        self._ask(WATCH, 0, f"{path}\0{token}\0".encode())

    def unwatch(self, path: str, token: str) -> None:
        """End a watch; its earlier events may still come."""
        self._ask(UNWATCH, 0, f"{path}\0{token}\0".encode())

    def events(self, wake_fd: int, timeout_s: float | None = None) -> list[str]:
        """Wait for events and return their tokens, each once.

        Returns none when `wake_fd` becomes readable or the time is over.
        """
        has_any = self._events or self._received
        if not has_any and wait_readable(self._fd, wake_fd, within_s=timeout_s) != [self._fd]:
            return []
        # At least one message, then all that has been read already: poll() shows no buffered bytes.
        taken = 0
        while (self._received or not self._events) and taken < MOST_EVENTS:
            self._receive_message(time.monotonic() + self._patience_s)
            taken += 1
        tokens = list(self._events)
        self._events.clear()
        return tokens

    def close(self) -> None:
        """Close the connection; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _ask_each(self, kind: int, transaction: int, paths: tuple[str, ...]) -> list[bytes | None]:
        """Send the same request for several nodes at once; None stands for a missing node."""
        requests = [self._send(kind, transaction, path.encode() + b"\0") for path in paths]
        answers = [self._answer(kind, request) for request in requests]
        # All answers are received before one is raised: none may be left for the next request.
        for answer in answers:
            if isinstance(answer, OSError) and answer.errno != errno.ENOENT:
                raise answer
        return [None if isinstance(answer, OSError) else answer for answer in answers]

    def _in_parts(self, path: str) -> list[str] | None:
        """Return a list that one message cannot hold; None if it changed meanwhile.

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
        """End a transaction; False means a conflict with another client's writes."""
        try:
            self._ask(TRANSACTION_END, transaction, how)
        except BlockingIOError:  # EAGAIN
            return False
        return True

    def _ask(self, kind: int, transaction: int, payload: bytes) -> bytes:
        """Send one request and return its answer; raises an answer that is ERROR."""
        answer = self._answer(kind, self._send(kind, transaction, payload))
        if isinstance(answer, OSError):
            raise answer
        return answer

    def _send(self, kind: int, transaction: int, payload: bytes) -> int:
        """Send one request, in one write as the device requires; return its number."""
        if len(payload) > PAYLOAD_MAX:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        self._request = (self._request + 1) & 0xFFFFFFFF
        message = HEADER.pack(kind, self._request, transaction, len(payload)) + payload
        if os.write(self._fd, message) != len(message):
            raise ConnectionResetError(errno.ECONNRESET, "cannot send a whole request")
        return self._request

    def _answer(self, kind: int, request: int) -> bytes | OSError:
        """Return the answer to a request; events that come before it are kept for `events`."""
        deadline = time.monotonic() + self._patience_s
        while True:
            answer, of, body = self._receive_message(deadline)
            if answer == WATCH_EVENT:
                continue
            if of != request or answer not in (kind, ERROR):
                raise OSError(errno.EPROTO, "an answer that belongs to no request")
            return _error(body) if answer == ERROR else body

    def _receive_message(self, deadline: float) -> tuple[int, int, bytes]:
        """Return the next message; an event's token is kept for `events`.

        Each token is kept once, so that a guest that writes a node all the time costs no memory.
        """
        kind, request, _, size = HEADER.unpack(self._take(HEADER.size, deadline))
        if size > PAYLOAD_MAX:
            raise OSError(errno.EPROTO, f"a message of {size} bytes")
        body = self._take(size, deadline)
        if kind == WATCH_EVENT:
            self._events[body.partition(b"\0")[2].rstrip(b"\0").decode(errors="replace")] = None
        return kind, request, body

    def _take(self, size: int, deadline: float) -> bytes:
        while len(self._received) < size:
            left = deadline - time.monotonic()
            if left <= 0 or not wait_readable(self._fd, within_s=left):
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            chunk = os.read(self._fd, PAYLOAD_MAX + HEADER.size)
            if not chunk:
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            self._received += chunk
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken


def is_answer(error: OSError) -> bool:
    """Whether xenstored answered a request with this error, so that the connection is good."""
    lost = isinstance(error, ConnectionError | TimeoutError)
    return not lost and error.errno != errno.EPROTO


def _strings(body: bytes) -> list[str]:
    """Return the strings of a list, each of which ends with a NUL."""
    return [text.decode(errors="replace") for text in body.split(b"\0") if text]


def _error(body: bytes) -> OSError:
    """Return the OSError for xenstored's error, such as ENOENT; EIO for an unknown one."""
    name = body.rstrip(b"\0").decode(errors="replace")
    number = getattr(errno, name, errno.EIO) if name.startswith("E") else errno.EIO
    return OSError(number, os.strerror(number))
