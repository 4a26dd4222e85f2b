"""One request and its reply, over the daemon's Unix socket or to a URL.

HTTP/1.1 is written by hand for the socket: http.client imports ssl and email, which take three
times as long as starting the interpreter. A URL goes through http.client.
"""

import json
import os
import socket
from collections.abc import Callable, Mapping
from time import monotonic, sleep

from maxmemd.rest.reply import HOST_HEADER, SIMULATED, Answer, Away, Body, Lost, Unreachable
from maxmemd.rest.retry import BUSY, CONNECT_S, REPLY_S, RETRY_S, Retry

DEFAULT_SOCKET = "/run/maxmemd/maxmemd.sock"
MOST_BYTES = 64 * 2**20
"""The largest reply that is read."""


class DaemonConnection:
    """Where maxmemd listens: a Unix socket, or a URL if one is given."""

    def __init__(
        self,
        path: str,
        url: str | None = None,
        files: Mapping[str, str] | None = None,
        *,
        retry_s: float | None = None,
        reply_s: float | None = None,
        on_simulated: Callable[[], None] | None = None,
    ) -> None:
        """`files` are what a URL may need: token-file, cert (with its key) and cacert.

        `retry_s` is how long a request is retried, by default RETRY_S; `reply_s` how long its reply
        may take with all retries, by default REPLY_S. `on_simulated` is called once if the host is
        no real Xen.
        """
        self.path, self.url, self.files = path, url, files or {}
        self.where = url or path
        self._retry_s = RETRY_S if retry_s is None else retry_s
        self._reply_s = REPLY_S if reply_s is None else reply_s
        self._on_simulated = on_simulated

    def ask(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        headers: "dict[str, str] | None" = None,
    ) -> Answer:
        """Send one request and return the reply. Raises Unreachable.

        A write waits CONNECT_S for a daemon that is away. When the daemon is busy or the connection
        is lost, the request is sent again: a write has the same Idempotency-Key each time, so it
        happens once.
        """
        head = {"Accept": "application/json", **(headers or {})}
        if method != "GET":
            head.setdefault("Idempotency-Key", os.urandom(16).hex())
        data = b"" if body is None else json.dumps(body).encode()
        if data:
            head["Content-Type"] = "application/json"
        exchange = self._exchange_with_url if self.url else self._exchange_with_socket
        retry = Retry(self.where, self._retry_s, self._reply_s)
        while True:
            try:
                answer = self._parse(*exchange(method, path, head, data, retry))
            except Lost:
                if not retry.pause_after("the connection was lost"):
                    raise self._lost() from None
                continue
            except Away:
                # Before any trouble this is an answer: nothing was sent. After it the request may
                # have been carried out, and the daemon is probably restarting.
                if not retry.had_trouble:
                    raise
                if not retry.pause_after("it is away"):
                    raise self._lost() from None
                continue
            if answer.code != BUSY or not retry.pause_after("it is busy"):
                return answer

    def note_host(self, header: str | None) -> None:
        """Note what a reply says of the host, in HOST_HEADER."""
        if header == SIMULATED and self._on_simulated is not None:
            self._on_simulated()
            self._on_simulated = None

    def _lost(self) -> Unreachable:
        if "cert" in self.files:
            return Unreachable(
                f"cannot get a reply from {self.where}: it ends each connection (is the certificate"
                f" in {self.files['cert']} signed by one of the daemon's tls_clients?)"
            )
        return Unreachable(
            f"cannot get a reply from {self.where}: the connection was lost, and"
            f" {self._retry_s:.0f} s of retries brought none (see journalctl -u maxmemd)"
        )

    def _exchange_with_socket(
        self, method: str, path: str, headers: dict[str, str], data: bytes, retry: Retry
    ) -> tuple[int, bytes]:
        lines = [f"{method} {path} HTTP/1.1", "Host: maxmemd", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(data)}"] if data or method != "GET" else []
        request = "\r\n".join(lines).encode() + b"\r\n\r\n" + data
        with self._connect(patient=method != "GET") as sock:
            try:
                sock.sendall(request)
                head, body = _receive_reply(sock, retry)
                status = int(head.split(None, 2)[1])
            except TimeoutError:
                raise Unreachable(
                    f"cannot get a reply from {self.where} within {self._reply_s:.0f} s:"
                    " maxmemctl history shows whether a change was made"
                ) from None
            except (ConnectionError, ValueError, IndexError) as error:
                raise Lost from error
        self.note_host(_header(head, HOST_HEADER))
        return status, body

    def _connect(self, patient: bool) -> socket.socket:
        deadline_s = monotonic() + CONNECT_S
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(self._reply_s)
            try:
                sock.connect(self.path)
                return sock
            except (ConnectionRefusedError, FileNotFoundError) as error:
                reason: OSError = error
            except BlockingIOError as error:  # the backlog is full: the daemon is there, and busy
                reason, patient = error, True
            except OSError as error:
                sock.close()
                raise self._away(error) from None
            sock.close()
            if not patient or monotonic() >= deadline_s:
                raise self._away(reason)
            sleep(0.05)

    def _away(self, error: OSError) -> Away:
        hint = "is it running? systemctl status maxmemd, or start it: maxmemd serve"
        if isinstance(error, PermissionError):
            hint = "run this as root or as a member of the socket's group"
        return Away(f"cannot reach maxmemd at {self.where}: {error.strerror or error} ({hint})")

    def _exchange_with_url(
        self, method: str, path: str, headers: dict[str, str], data: bytes, _: Retry
    ) -> tuple[int, bytes]:
        from http.client import BadStatusLine, HTTPException, RemoteDisconnected
        from ssl import SSLEOFError

        from maxmemd.rest.tcp import connection_to
        from maxmemd.rest.tls_trouble import tls_trouble

        connection, prefix, token = connection_to(self.url, self.files, self._reply_s)
        try:
            connection.request(method, prefix + path, data or None, headers | token)
            reply = connection.getresponse()
            body = reply.read(MOST_BYTES)
        except (ConnectionResetError, BrokenPipeError, SSLEOFError, HTTPException) as error:
            if isinstance(error, BadStatusLine) and not isinstance(error, RemoteDisconnected):
                raise Unreachable(
                    f"cannot read the reply from {self.where}: it is not HTTP (does it serve"
                    " https://?)"
                ) from None
            raise Lost from error
        except OSError as error:
            if (why := tls_trouble(error)) is not None:
                raise Unreachable(f"cannot talk to maxmemd at {self.where}: {why}") from None
            raise self._away(error) from None
        finally:
            connection.close()
        self.note_host(reply.getheader(HOST_HEADER))
        return reply.status, body

    def _parse(self, status: int, raw: bytes) -> Answer:
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Unreachable(
                f"cannot read the reply from {self.where} (HTTP {status}): does maxmemd listen"
                " there?"
            )
        return Answer(status, body)


def _receive_reply(sock: socket.socket, retry: Retry) -> tuple[bytes, bytes]:
    """Return head and body of the reply; ValueError if it is cut short or not HTTP."""
    head, split, body = b"", b"", b""
    length = MOST_BYTES
    while len(body) < length:
        chunk = retry.receive(sock)
        if not chunk:
            break
        if split:
            body += chunk
            continue
        head, split, body = (head + chunk).partition(b"\r\n\r\n")
        if split:
            length = _content_length(head)
    if not split or len(body) != length:
        raise ValueError("the reply was cut short")
    return head, body


def _content_length(head: bytes) -> int:
    length = _header(head, "Content-Length")
    if length is None:
        raise ValueError("the reply has no Content-Length")
    return int(length)


def _header(head: bytes, name: str) -> str | None:
    for line in head.split(b"\r\n")[1:]:
        found, _, value = line.partition(b":")
        if found.lower() == name.lower().encode():
            return value.decode("latin-1").strip()
    return None
