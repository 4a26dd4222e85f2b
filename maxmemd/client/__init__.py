"""Python clients of maxmemd: a verb makes a typed Ask, a client does it.

with Client() as maxmemd:
    reply = maxmemd.do(calls.set_limit("web", LimitRequest(max_mem_kib=524288)), if_match=7)

async with AsyncClient() as maxmemd:
    reply = await maxmemd.do(calls.explain("web"))
    async for event in maxmemd.events(since=last_id):
        ...
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from maxmemd.client import calls, events
from maxmemd.client.calls import Call
from maxmemd.client.events import Position
from maxmemd.client.retry import BUSY, PAUSE_S, Retry
from maxmemd.client.transport import request_of, settings
from maxmemd.wire import replies

DEFAULT_SOCKET = "/run/maxmemd/maxmemd.sock"

T = TypeVar("T", bound=BaseModel)


class Refused(Exception):
    """The daemon said no: permanent `code`, a sentence, the numbers, and the HTTP status."""

    def __init__(self, code: str, detail: str, numbers: dict[str, Any], status: int) -> None:
        super().__init__(detail)
        self.code, self.detail, self.numbers, self.status = code, detail, numbers, status


class Unreachable(Exception):
    """No reply of maxmemd's came; whether a write happened is in the domain's history."""


class Client:
    """Does what is asked over the daemon's Unix socket, or at a URL if one is given.

    `token_file` holds the bearer token; `options` are httpx.Client's, for TLS `verify` (an
    ssl.SSLContext, with the client's certificate if it has one).
    """

    def __init__(
        self,
        socket: str = DEFAULT_SOCKET,
        *,
        url: str | None = None,
        token_file: str | None = None,
        **options: Any,
    ) -> None:
        if url is None:  # verify=False: a Unix socket needs no certificates, which load slowly
            options.setdefault("transport", httpx.HTTPTransport(uds=socket, verify=False))
        self._where = url or socket
        self._http = httpx.Client(**settings(url, token_file, options))

    def do(
        self,
        ask: Call[T],
        *,
        dry_run: bool = False,
        if_match: int | None = None,
        key: str | None = None,
    ) -> T:
        """Do what is asked; a lost request is sent again for 30 s, with the same Idempotency-Key.

        So is one that is answered arbiter-busy: the daemon may be started anew. Raises Refused for
        a problem document and Unreachable where no reply came.
        """
        sent, again = request_of(self._http, ask, dry_run, if_match, key), Retry(self._where)
        while True:
            try:
                return _read(ask, self._http.send(sent))
            except (httpx.TransportError, Refused) as why:
                _give_up(why, again)
            time.sleep(PAUSE_S)

    def events(
        self, *, since: str = "", domain: str | None = None, kinds: Sequence[str] = ()
    ) -> Iterator[replies.Event]:
        """Yield what happens, for ever; a lost stream goes on after the last event.

        `since` is the id of the last event seen, "0" for the first there is, "" for what happens
        from now on. `domain` had better be a UUID: a name may come to mean another one.
        Raises Refused for a problem document, and Unreachable where there is no stream at first.
        """
        place = Position(since, domain, kinds)
        while True:
            try:
                with self._http.stream("GET", "/v1/events", **place.asked()) as reply:
                    if reply.status_code != 200:
                        reply.read()
                        _refuse(reply, place)
                    for line in reply.iter_lines():
                        event = place.take(line)
                        if event is not None:
                            yield event
            except events.LOST as why:
                if not place.known:
                    raise _away(self._where, why) from why
            time.sleep(events.AGAIN_S)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient:
    """As Client, for asyncio."""

    def __init__(
        self,
        socket: str = DEFAULT_SOCKET,
        *,
        url: str | None = None,
        token_file: str | None = None,
        **options: Any,
    ) -> None:
        if url is None:
            options.setdefault("transport", httpx.AsyncHTTPTransport(uds=socket, verify=False))
        self._where = url or socket
        self._http = httpx.AsyncClient(**settings(url, token_file, options))

    async def do(
        self,
        ask: Call[T],
        *,
        dry_run: bool = False,
        if_match: int | None = None,
        key: str | None = None,
    ) -> T:
        """As Client.do."""
        sent, again = request_of(self._http, ask, dry_run, if_match, key), Retry(self._where)
        while True:
            try:
                return _read(ask, await self._http.send(sent))
            except (httpx.TransportError, Refused) as why:
                _give_up(why, again)
            await asyncio.sleep(PAUSE_S)

    async def events(
        self, *, since: str = "", domain: str | None = None, kinds: Sequence[str] = ()
    ) -> AsyncIterator[replies.Event]:
        """As Client.events."""
        place = Position(since, domain, kinds)
        while True:
            try:
                async with self._http.stream("GET", "/v1/events", **place.asked()) as reply:
                    if reply.status_code != 200:
                        await reply.aread()
                        _refuse(reply, place)
                    async for line in reply.aiter_lines():
                        event = place.take(line)
                        if event is not None:
                            yield event
            except events.LOST as why:
                if not place.known:
                    raise _away(self._where, why) from why
            await asyncio.sleep(events.AGAIN_S)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _read(ask: Call[T], reply: httpx.Response) -> T:
    try:
        if reply.headers.get("content-type", "").startswith("application/problem+json"):
            problem = replies.Problem.model_validate_json(reply.content)
            numbers = dict(problem.model_extra or {})
            raise Refused(problem.code, problem.detail, numbers, problem.status)
        return ask.gives.model_validate_json(reply.content)
    except ValidationError as why:
        raise Unreachable(
            f"cannot read the reply to {ask.method} {ask.path} (HTTP {reply.status_code}):"
            " it is not of this version of maxmemd"
        ) from why


def _give_up(why: httpx.TransportError | Refused, again: Retry) -> None:
    """Raise what a request has come to, unless it is to be sent again."""
    if isinstance(why, Refused):
        if why.code != BUSY or not again.after(why):
            raise why
    elif not again.after(why):
        raise _away(again.where, why) from why


def _refuse(reply: httpx.Response, place: Position) -> None:
    """Raise what a reply that is no stream means; later, trouble of the daemon's is waited out."""
    if reply.status_code < 500 or not place.known:
        _read(_EVENTS, reply)


_EVENTS = Call("GET", "/v1/events", replies.Event)


def _away(where: str, why: Exception) -> Unreachable:
    return Unreachable(
        f"cannot get a reply from maxmemd at {where}: {str(why) or type(why).__name__}"
    )


__all__ = ["AsyncClient", "Client", "Refused", "Unreachable", "calls"]
