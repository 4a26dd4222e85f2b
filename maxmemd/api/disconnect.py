"""What ends when its client goes away: a stream, and a read that is dear."""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import aclosing, suppress
from typing import TypeVar

from maxmemd.api.asgi import Headers, Receive, Send
from maxmemd.api.reading.pool import READ_WITHIN_S
from maxmemd.api.reading.strides import too_long
from maxmemd.api.response import StreamingResponse
from maxmemd.errors import MaxmemError

LOG = logging.getLogger("maxmemd.api")
T = TypeVar("T")


async def while_wanted(receive: Receive, answer: Awaitable[T]) -> T | None:
    """Return an answer, or None if the client went away before. Raises ReadTooLong, and its error.

    Either way what made it is cancelled.
    """
    gone = asyncio.create_task(_wait_for_disconnect(receive))
    making = asyncio.ensure_future(answer)
    try:
        await asyncio.wait(
            {gone, making}, timeout=READ_WITHIN_S, return_when=asyncio.FIRST_COMPLETED
        )
        if making.done():
            return making.result()
        if gone.done():
            return None
        raise too_long()
    finally:
        for task in (gone, making):
            task.cancel()


async def send_stream(
    receive: Receive, send: Send, stream: StreamingResponse, common: Headers = ()
) -> None:
    """Send a stream until it ends or the client is gone."""
    headers = [(b"content-type", stream.media_type), (b"cache-control", b"no-store"), *common]
    gone = asyncio.create_task(_wait_for_disconnect(receive))
    sending = asyncio.create_task(_send_pieces(send, headers, stream))
    try:
        await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (gone, sending):
            task.cancel()
        stream.close()
    with suppress(asyncio.CancelledError):
        await sending


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_pieces(send: Send, headers: Headers, stream: StreamingResponse) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    try:
        async with aclosing(stream.pieces) as pieces:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
    except MaxmemError as error:
        LOG.warning("closing a stream of events, which its client may resume: %s", error)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
