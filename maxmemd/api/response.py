"""Responses, and how they are sent."""

from collections.abc import AsyncGenerator, Callable
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from maxmemd.api import problems
from maxmemd.api.asgi import Headers, Send
from maxmemd.api.problems import Rejected
from maxmemd.policy.verdicts import Refusal

JSON = b"application/json"
_TOO_LARGE = 413
MOST_COPIED = 64 * 1024
"""Larger bodies are not copied: many clients may request the same one without reading it."""


class Response(NamedTuple):
    """A response. `revision` becomes the ETag, `retry_s` Retry-After, `allow` Allow.

    `refusal` is the arbiter's, for the log.
    """

    status: int
    body: bytes
    media_type: bytes = JSON
    revision: int | None = None
    retry_s: int | None = None
    refusal: Refusal | None = None
    allow: str = ""


class StreamingResponse(NamedTuple):
    """A response in pieces. `close` is called once, however the stream ends."""

    pieces: AsyncGenerator[bytes, None]
    media_type: bytes
    close: Callable[[], None]


async def send_response(send: Send, reply: Response, common: Headers = ()) -> None:
    """Send a response, in one piece if possible; `common` are headers of every response."""
    headers = [*_headers(reply), *common]
    if not _at_once(send, reply, headers):
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})


def last_reply(why: Rejected, common: Headers, more: str = "") -> bytes:
    """Return the bytes of a problem that ends its connection, where no request is being served.

    `common` are headers of every response; `more` are lines of others.
    """
    status, body = problems.document(why.code, why.detail, why.numbers)
    head = (
        f"Content-Type: {problems.MEDIA_TYPE.decode()}\r\n"
        f"Content-Length: {len(body)}\r\n{more}Connection: close\r\n"
    )
    lines = b"".join(b"%b: %b\r\n" % header for header in common)
    return STATUS_LINE[status] + head.encode() + lines + b"\r\n" + body


def _headers(reply: Response) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"content-type", reply.media_type),
        (b"content-length", b"%d" % len(reply.body)),
    ]
    if reply.revision is not None:
        headers.append((b"etag", b'"%d"' % reply.revision))
    if reply.allow:
        headers.append((b"allow", reply.allow.encode()))
    if reply.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if reply.retry_s is not None:
        headers.append((b"retry-after", b"%d" % reply.retry_s))
    if reply.status == _TOO_LARGE:
        headers.append((b"connection", b"close"))
    return headers


def _at_once(send: Send, reply: Response, headers: Headers) -> bool:
    """Write a whole response in one piece if the connection is kept alive and not blocked.

    This equals uvicorn's RequestResponseCycle.send, without its two messages and its search for
    line ends in our constants, which cost a tenth of a decision.
    """
    cycle = getattr(send, "__self__", None)
    if not isinstance(cycle, RequestResponseCycle) or not _is_plain(cycle, reply):
        return False
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    lines = [STATUS_LINE[reply.status], *(b"%b: %b\r\n" % header for header in headers)]
    cycle.transport.write(b"".join([*lines, b"\r\n", reply.body]))
    cycle.message_event.set()
    cycle.on_response()
    return True


def _is_plain(cycle: RequestResponseCycle, reply: Response) -> bool:
    stays = cycle.keep_alive and reply.status != _TOO_LARGE and len(reply.body) <= MOST_COPIED
    held_up = cycle.flow.write_paused or cycle.disconnected or cycle.response_started
    return stays and not held_up and cycle.scope["method"] != "HEAD"
