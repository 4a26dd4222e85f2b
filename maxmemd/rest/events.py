"""The stream of events: read line by line, and connected again after it ends."""

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from time import sleep
from urllib.parse import urlencode

from maxmemd.rest.connection import DaemonConnection
from maxmemd.rest.reply import HOST_HEADER, Answer, Body, Unreachable
from maxmemd.rest.retry import RECONNECT_S, STREAM_SILENCE_S
from maxmemd.rest.tcp import connection_to
from maxmemd.rest.text import print_error
from maxmemd.rest.tls_trouble import tls_trouble

MOST_LINE = 1024 * 1024


class StreamRefused(Exception):
    """The daemon refuses this stream."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.code)
        self.answer = answer


class _UnixHTTPConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("maxmemd", timeout=STREAM_SILENCE_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of the host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(STREAM_SILENCE_S)
        self.sock.connect(self._path)


def follow_events(server: DaemonConnection, query: dict[str, str], since: str) -> Iterator[Body]:
    """Yield events without end, after the one with the id `since`; "" begins with the next event.

    Raises Unreachable if the first connection fails, and StreamRefused. Once an id is known, the
    daemon may be away for any time: the stream then continues after the last event.
    """
    last_id, has_position = since, False
    while True:
        try:
            for event_id, event in _read_stream(server, query, last_id):
                last_id, has_position = event_id, True
                if event is not None:
                    yield event
        except (OSError, HTTPException) as error:
            if not has_position:
                raise _unreachable(server, error) from None
            print_error(
                f"maxmemd at {server.where} is away ({error or type(error).__name__}):"
                " waiting for it"
            )
            sleep(RECONNECT_S)
            while not _is_listening(server):
                sleep(RECONNECT_S)


def _read_stream(
    server: DaemonConnection, query: dict[str, str], last_id: str
) -> Iterator[tuple[str, Body | None]]:
    """Yield ids and events of one connection; raises ConnectionError at its end."""
    connection, prefix, token = _connection(server)
    try:
        headers = {"Accept": "text/event-stream"} | token
        headers |= {"Last-Event-ID": last_id} if last_id else {}
        parameters = f"?{urlencode(query)}" if query else ""
        connection.request("GET", f"{prefix}/v1/events{parameters}", headers=headers)
        reply = connection.getresponse()
        server.note_host(reply.getheader(HOST_HEADER))
        if reply.status != 200:
            raise _refusal(server, reply.status, reply.read(MOST_LINE))
        while line := reply.readline(MOST_LINE):
            field, _, value = line.decode().rstrip("\r\n").partition(": ")
            if field == "id":
                last_id = value
            elif field == "data":
                yield last_id, json.loads(value)
            elif not field:
                # The end of a message, or a keep-alive: an id without an event is a position too.
                yield last_id, None
        raise ConnectionResetError("it ended the stream")
    finally:
        connection.close()


def _connection(server: DaemonConnection) -> tuple[HTTPConnection, str, dict[str, str]]:
    if server.url is None:
        return _UnixHTTPConnection(server.path), "", {}
    return connection_to(server.url, server.files, STREAM_SILENCE_S)


def _refusal(server: DaemonConnection, status: int, raw: bytes) -> Exception:
    """Return what to raise for a reply that is no stream; trouble of the daemon's passes."""
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return Unreachable(f"cannot read the reply from {server.where} (HTTP {status})")
    if status >= 500:
        return ConnectionResetError(body["detail"])
    return StreamRefused(Answer(status, body))


def _is_listening(server: DaemonConnection) -> bool:
    connection, _, _ = _connection(server)
    try:
        connection.connect()
    except OSError:
        return False
    finally:
        connection.close()
    return True


def _unreachable(server: DaemonConnection, error: Exception) -> Unreachable:
    if (why := tls_trouble(error)) is not None:
        return Unreachable(f"cannot talk to maxmemd at {server.where}: {why}")
    reason = getattr(error, "strerror", None) or error
    return Unreachable(f"cannot reach maxmemd at {server.where}: {reason} (is it running?)")
