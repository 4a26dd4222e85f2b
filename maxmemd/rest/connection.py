"""One request and its reply, over the daemon's Unix socket or to a URL.

HTTP/1.1 is spoken by hand on the socket: http.client imports ssl and email, which take three
times as long as starting the interpreter. A URL goes through http.client.
"""

import json
import os
import socket
from collections.abc import Mapping
from time import monotonic, sleep

from maxmemd.rest.reply import Answer, Away, Body, Lost, Unreachable
from maxmemd.rest.retry import REPLY_S, Retry

DEFAULT_SOCKET = "/run/maxmemd/maxmemd.sock"
PATIENCE_S = 3.0
"""How long a write waits for a daemon that is away: it may be restarting."""
AGAIN_S = 30.0
"""How long a request is sent again that meets a busy daemon or loses its connection."""
BUSY = "arbiter-busy"
MOST_BYTES = 64 * 2**20
"""No reply is larger."""


class DaemonConnection:
    """Where maxmemd answers: a Unix socket, or a URL if one is given."""

    again_s = AGAIN_S

    def __init__(
        self, path: str, url: str | None = None, files: Mapping[str, str] | None = None
    ) -> None:
        """`files` are what a URL may need: token-file, cert (with its key) and cacert."""
        self.path, self.url, self.files = path, url, files or {}
        self.where = url or path

    def ask(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        headers: "dict[str, str] | None" = None,
    ) -> Answer:
        """Send one request and return the reply.

        A write waits PATIENCE_S for a daemon that is away. Where the daemon is busy, or the
        connection is lost, the request is sent again: a write carries the same Idempotency-Key, so
        it happens once.
        """
        head = {"Accept": "application/json", **(headers or {})}
        if method != "GET":
            head.setdefault("Idempotency-Key", os.urandom(16).hex())
        data = b"" if body is None else json.dumps(body).encode()
        if data:
            head["Content-Type"] = "application/json"
        exchange = self._over_url if self.url else self._over_socket
        wait = Retry(self.where, self.again_s)
        while True:
            try:
                answer = self._answer(*exchange(method, path, head, data, wait))
            except Lost:
                if not wait.goes_on("the connection was lost"):
                    raise self._lost() from None
                continue
            except Away:
                if not wait.troubled:
                    raise
                if not wait.goes_on("it is away"):
                    raise self._lost() from None
                continue
            if answer.code != BUSY or not wait.goes_on("it is busy"):
                return answer

    def _lost(self) -> Unreachable:
        return Unreachable(
            f"cannot get a reply from {self.where}: the connection was lost, and in"
            f" {self.again_s:.0f} s there was none (journalctl -u maxmemd tells why)"
        )

    def _over_socket(
        self, method: str, path: str, headers: dict[str, str], data: bytes, wait: Retry
    ) -> tuple[int, bytes]:
        lines = [f"{method} {path} HTTP/1.1", "Host: maxmemd", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(data)}"] if data or method != "GET" else []
        request = "\r\n".join(lines).encode() + b"\r\n\r\n" + data
        with self._connected(patient=method != "GET") as sock:
            try:
                sock.sendall(request)
                return _reply(sock, wait)
            except TimeoutError:
                raise Unreachable(
                    f"cannot get a reply from {self.where} within {REPLY_S:.0f} s: whether a"
                    " change was made is in maxmemctl history"
                ) from None
            except (ConnectionError, ValueError) as why:
                raise Lost from why

    def _connected(self, patient: bool) -> socket.socket:
        until = monotonic() + PATIENCE_S
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(REPLY_S)
            try:
                sock.connect(self.path)
                return sock
            except (ConnectionRefusedError, FileNotFoundError) as why:
                error: OSError = why
            except BlockingIOError as why:  # its backlog is full: busy, not away
                error, patient = why, True
            except OSError as why:
                sock.close()
                raise self._away(why) from None
            sock.close()
            if not patient or monotonic() >= until:
                raise self._away(error)
            sleep(0.05)

    def _away(self, why: OSError) -> Away:
        hint = "is it running? systemctl status maxmemd, or start it: maxmemd serve"
        if isinstance(why, PermissionError):
            hint = "run this as root or as a member of the socket's group"
        return Away(f"cannot reach maxmemd at {self.where}: {why.strerror or why} ({hint})")

    def _over_url(
        self, method: str, path: str, headers: dict[str, str], data: bytes, _: Retry
    ) -> tuple[int, bytes]:
        from http.client import HTTPException

        from maxmemd.rest.tcp import link_to

        link, prefix, token = link_to(self.url, self.files, REPLY_S)
        try:
            link.request(method, prefix + path, data or None, headers | token)
            reply = link.getresponse()
            return reply.status, reply.read(MOST_BYTES)
        except ConnectionResetError as why:
            raise Lost from why
        except HTTPException as why:
            raise Lost from why
        except OSError as why:
            raise self._away(why) from None
        finally:
            link.close()

    def _answer(self, status: int, raw: bytes) -> Answer:
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Unreachable(
                f"cannot read the reply of {self.where} (HTTP {status}): is it"
                " maxmemd that listens there?"
            )
        return Answer(status, body)


def _reply(sock: socket.socket, wait: Retry) -> tuple[int, bytes]:
    """Return status and body of the reply; ValueError where it is cut short or is not HTTP."""
    head, split, body = b"", b"", b""
    length = MOST_BYTES
    while len(body) < length:
        got = wait.hear(sock)
        if not got:
            break
        if split:
            body += got
            continue
        head, split, body = (head + got).partition(b"\r\n\r\n")
        if split:
            length = _length(head)
    if not split or len(body) != length:
        raise ValueError("the reply was cut short")
    return int(head.split(None, 2)[1]), body


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    raise ValueError("the reply does not say how long it is")
