"""Client.events and AsyncClient.events: each event once, even if the connection breaks."""

import asyncio
import json
from collections.abc import Callable
from itertools import islice
from typing import Any

import httpx
import pytest

from maxmemd.client import AsyncClient, Client, Refused, Unreachable
from maxmemd.wire import history_replies

UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
Take = Callable[..., list[history_replies.Event]]


def event(number: int) -> history_replies.Event:
    """Return an event by its number."""
    return history_replies.Event(
        id=f"{number}-0-0000000{number}", kind="forgotten", at="", uuid=UUID, domid=None,
        revision=1, by=None, wish=None, code=None, limit_kib=None, max_pages=None,
        seen_pages=None, errno=None,
    )  # fmt: skip


def text(*numbers: int) -> str:
    """Return events as they travel, after the daemon's greeting."""
    blocks = [f"id: {event(n).id}\ndata: {event(n).model_dump_json()}\n\n" for n in numbers]
    return "retry: 1000\nid: 0-0-00000000\n\n" + "".join(blocks)


PROBLEM = {"type": "urn", "title": "t", "detail": "cannot", "status": 409}
BUSY = {**PROBLEM, "code": "ledger-busy", "status": 503}
FOREIGN = {**PROBLEM, "code": "event-id-foreign"}
TYPE = {"Content-Type": "application/problem+json"}


class Served:
    """A daemon that answers one thing after the other, and notes what it was asked."""

    def __init__(self, *replies: Any) -> None:
        self.replies, self.asked = list(replies), []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        self.asked.append((str(request.url.query, "ascii"), request.headers.get("last-event-id")))
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, str):
            return httpx.Response(200, text=reply)
        return httpx.Response(reply["status"], content=json.dumps(reply), headers=TYPE)


def sync_take(served: Served, most: int, **options: Any) -> list[history_replies.Event]:
    """Take so many events by Client."""
    with Client(url="http://d", transport=httpx.MockTransport(served)) as client:
        return list(islice(client.events(**options), most))


def async_take(served: Served, most: int, **options: Any) -> list[history_replies.Event]:
    """Take so many events by AsyncClient."""

    async def take() -> list[history_replies.Event]:
        found = []
        async with AsyncClient(url="http://d", transport=httpx.MockTransport(served)) as client:
            events = client.events(**options)
            async for one in events:
                found.append(one)
                if len(found) == most:
                    break
            await events.aclose()  # type: ignore[attr-defined]
        return found

    return asyncio.run(take())


@pytest.fixture(params=[sync_take, async_take], ids=["Client", "AsyncClient"])
def take(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Take:
    """Give one way to take events, without pauses."""
    monkeypatch.setattr("maxmemd.client.RECONNECT_S", 0.0)
    found: Take = request.param
    return found


def test_it_goes_on_after_the_last_event(take: Take) -> None:
    """What ended, was lost, or could not be served for a while goes on after the last event."""
    served = Served(text(1, 2), httpx.ReadError("gone"), BUSY, text(3), text(4))
    assert take(served, 4, domain=UUID, kinds=["forgotten", "instance-ended"]) == [
        event(1), event(2), event(3), event(4),
    ]  # fmt: skip
    query = f"domain={UUID}&kind=forgotten%2Cinstance-ended"
    lasts = [None, *[event(2).id] * 3, event(3).id]
    assert served.asked == [(query, last) for last in lasts]


def test_it_begins_where_it_is_told(take: Take) -> None:
    """An id or 0 is sent as the last one seen."""
    served = Served(text(1))
    take(served, 1, since="0")
    assert served.asked == [("", "0")]


@pytest.mark.parametrize("problem", [FOREIGN, BUSY], ids=["no", "busy"])
def test_no_stream_to_begin_with(take: Take, problem: dict[str, Any]) -> None:
    """A problem is raised; trouble of the daemon's as well, while nothing has come yet."""
    with pytest.raises(Refused) as refused:
        take(Served(problem), 1)
    assert refused.value.code == problem["code"]


def test_a_problem_later_on(take: Take) -> None:
    """An id that the daemon does not know any more is raised, not asked for again and again."""
    with pytest.raises(Refused):
        take(Served(text(1), FOREIGN), 2)


def test_no_listener_at_first_is_logged(take: Take) -> None:
    """If there is no listener at first, that is logged."""
    with pytest.raises(Unreachable, match="cannot get a reply"):
        take(Served(httpx.ConnectError("no")), 1)
