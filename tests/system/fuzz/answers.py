"""What came out of a connection, read as a strict client reads it."""

import json
from collections.abc import Sequence

import h11

from maxmemd.api.problems import MEDIA_TYPE, STATUS
from tests.system.fuzz.still import Transport

MOST_HEAD_BYTES = 1024 * 1024
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Broken(AssertionError):
    """What no input may bring about."""


def read_answers(transport: Transport, methods: Sequence[bytes]) -> list[int]:
    """Return the statuses of all that was answered. Raises Broken.

    `methods` are those of the requests; an answer to what is no request is the last one.
    """
    left, statuses = bytes(transport.sent), []
    asked = iter(methods)
    while left:
        method = next(asked, b"GET")
        status, left = _read(left, method, whole=not transport.aborted)
        statuses.append(status)
    return statuses


def _read(sent: bytes, method: bytes, *, whole: bool) -> tuple[int, bytes]:
    """Return the status of the first answer, and what comes after it."""
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD_BYTES)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(sent)
    answer, body = None, b""
    while True:
        try:
            event = client.next_event()
        except h11.RemoteProtocolError as error:
            raise Broken(f"cannot read an answer: {error}: {sent[:200]!r}") from error
        if isinstance(event, h11.Response):
            answer = event
            if _is_no_request(answer):
                return 400, b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and answer is not None:
            _check(answer, body, method)
            return answer.status_code, client.trailing_data[0]
        elif not isinstance(event, h11.InformationalResponse):
            return _unended(answer, sent, whole=whole), b""


def _unended(answer: h11.Response | None, sent: bytes, *, whole: bool) -> int:
    """Return the status of an answer that goes on, or that was cut off with its connection."""
    if answer is None and sent == CONTINUE:
        return 100
    if whole and (answer is None or not _is_stream(answer)):
        raise Broken(f"an answer is not whole: {sent[:200]!r}")
    return 100 if answer is None else answer.status_code


def _is_no_request(answer: h11.Response) -> bool:
    """Whether nothing could be parsed: it ends the connection, and has a body even after HEAD."""
    return answer.status_code == 400 and (b"connection", b"close") in list(answer.headers)


def _is_stream(answer: h11.Response) -> bool:
    return (b"content-type", b"text/event-stream") in list(answer.headers)


def _check(answer: h11.Response, body: bytes, method: bytes) -> None:
    """Demand an answer that the API has: below 500, and a problem that is documented."""
    if answer.status_code >= 500:
        raise Broken(f"{answer.status_code}: {body[:500]!r}")
    if (b"content-type", MEDIA_TYPE) in list(answer.headers) and method != b"HEAD":
        problem = json.loads(body)
        if problem["code"] not in STATUS or not problem["detail"].startswith("cannot "):
            raise Broken(f"no problem of ours: {problem}")
