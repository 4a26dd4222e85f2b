"""The stream of events: read as it comes, and connected again where it ends."""

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from time import sleep
from urllib.parse import urlencode

from maxmemd.rest.connection import DaemonConnection
from maxmemd.rest.reply import Answer, Body, Unreachable
from maxmemd.rest.tcp import link_to
from maxmemd.rest.text import print_error

SILENT_S = 40.0
"""The daemon says something every 15 s; one that is silent for longer is connected anew."""
AGAIN_S = 1.0
MOST_LINE = 1024 * 1024


class StreamRefused(Exception):
    """The daemon does not give this stream."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.code)
        self.answer = answer


class _Unix(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("maxmemd", timeout=SILENT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of the host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SILENT_S)
        self.sock.connect(self._path)


def follow_events(server: DaemonConnection, query: dict[str, str], since: str) -> Iterator[Body]:
    """Yield events for ever; `since` is the id to go on after, "" for what happens from now on.

    Raises Unreachable where nobody answers at first, and Refused where the answer is no. Later
    the daemon may be away for as long as it likes.
    """
    last, known = since, False
    while True:
        try:
            for place, event in _once(server, query, last):
                last, known = place, True
                if event is not None:
                    yield event
        except (OSError, HTTPException) as why:
            if not known:
                raise _away(server, why) from None
            print_error(
                f"maxmemd at {server.where} is away ({why or type(why).__name__}): waiting for it"
            )
            sleep(AGAIN_S)
            while not _answers(server):
                sleep(AGAIN_S)


def _once(
    server: DaemonConnection, query: dict[str, str], last: str
) -> Iterator[tuple[str, Body | None]]:
    """Yield ids and events of one connection, until it ends: then ConnectionError is raised."""
    link, prefix, token = _link(server)
    try:
        headers = (
            {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {}) | token
        )
        asked = f"?{urlencode(query)}" if query else ""
        link.request("GET", f"{prefix}/v1/events{asked}", headers=headers)
        reply = link.getresponse()
        if reply.status != 200:
            raise _refused(server, reply.status, reply.read(MOST_LINE))
        while line := reply.readline(MOST_LINE):
            field, _, value = line.decode().rstrip("\r\n").partition(": ")
            if field == "id":
                last = value
            elif field == "data":
                yield last, json.loads(value)
            elif not field:
                yield last, None
        raise ConnectionResetError("it ended the stream")
    finally:
        link.close()


def _link(server: DaemonConnection) -> tuple[HTTPConnection, str, dict[str, str]]:
    if server.url is None:
        return _Unix(server.path), "", {}
    return link_to(server.url, server.files, SILENT_S)


def _refused(server: DaemonConnection, status: int, raw: bytes) -> Exception:
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return Unreachable(f"cannot read the reply of {server.where} (HTTP {status})")
    return (
        ConnectionResetError(body["detail"])
        if status >= 500
        else StreamRefused(Answer(status, body))
    )


def _answers(server: DaemonConnection) -> bool:
    """Whether somebody listens there again."""
    link, _, _ = _link(server)
    try:
        link.connect()
    except OSError:
        return False
    finally:
        link.close()
    return True


def _away(server: DaemonConnection, why: Exception) -> Unreachable:
    said = getattr(why, "strerror", None) or why
    return Unreachable(f"cannot reach maxmemd at {server.where}: {said} (is it running?)")
