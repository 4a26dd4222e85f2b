"""A transport with scripted answers, and both kinds of client on it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from maxmemd.client import AsyncClient, Client, calls
from maxmemd.client.calls import Call
from maxmemd.wire import daemon_replies, replies, requests

UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


GRANTED = replies.DecisionReply(
    uuid=UUID, domid=3, name="web", revision=8, limit_kib=525312, max_pages=131328, unlimited=False
)


HEALTH = daemon_replies.Health(live=True, ready=False, simulated=False, parts={"xen": "xen-failed"})


LIMIT = calls.set_limit("web", requests.LimitRequest(max_mem_kib=524288))


class Wire:
    """A transport that answers from a list, and keeps what it was sent."""

    def __init__(self, *replies: BaseModel | httpx.Response | Exception) -> None:
        self.replies = list(replies)
        self.sent: list[httpx.Request] = []
        self.transport = httpx.MockTransport(self.answer)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Give the next reply."""
        self.sent.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, httpx.Response):
            return reply
        return httpx.Response(200, text=reply.model_dump_json())


def sync(line: Wire, ask: Call[Any], **options: Any) -> Any:
    """Do what is asked with a Client."""
    with Client(transport=line.transport) as client:
        return client.do(ask, **options)


def with_asyncio(line: Wire, ask: Call[Any], **options: Any) -> Any:
    """Do what is asked with an AsyncClient."""

    async def doing() -> Any:
        async with AsyncClient(transport=line.transport) as client:
            return await client.do(ask, **options)

    return asyncio.run(doing())


Do = Callable[..., Any]


BOTH = pytest.mark.parametrize("do", [sync, with_asyncio])


def problem(status: int, body: dict[str, Any]) -> httpx.Response:
    """Return a problem document."""
    kind = {"content-type": "application/problem+json"}
    return httpx.Response(status, headers=kind, content=json.dumps(body))
