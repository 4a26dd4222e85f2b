"""Python clients of maxmemd: `calls` makes typed requests, a client sends them.

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
from os import PathLike, fspath
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from maxmemd.client import calls, events
from maxmemd.client.calls import Call, Ref
from maxmemd.client.events import Position
from maxmemd.client.retry import Retry
from maxmemd.client.transport import request_of, settings
from maxmemd.rest.connection import DEFAULT_SOCKET
from maxmemd.rest.retry import BUSY, PAUSE_S, RECONNECT_S
from maxmemd.rest.tls_trouble import tls_trouble
from maxmemd.wire import history_replies, replies

T = TypeVar("T", bound=BaseModel)


class Refused(Exception):
    """The daemon refused: its permanent `code`, `detail`, numbers and HTTP status."""

    def __init__(self, code: str, detail: str, numbers: dict[str, Any], status: int) -> None:
        super().__init__(detail)
        self.code, self.detail, self.numbers, self.status = code, detail, numbers, status


class Unreachable(Exception):
    """There was no reply from maxmemd; the domain's history shows whether a write happened."""


class Client:
    """Sends calls over the daemon's Unix socket, or to a URL if one is given.

    `token_file` holds the bearer token; `options` are httpx.Client's, for TLS `verify` (an
    ssl.SSLContext, with the client's certificate if it has one).
    """

    def __init__(
        self,
        socket: str | PathLike[str] = DEFAULT_SOCKET,
        *,
        url: str | None = None,
        token_file: str | None = None,
        **options: Any,
    ) -> None:
        if url is None:  # verify=False: a Unix socket needs no certificates, which load slowly
            options.setdefault("transport", httpx.HTTPTransport(uds=fspath(socket), verify=False))
        self._where = url or fspath(socket)
        self._http = httpx.Client(**settings(url, token_file, options))

    def do(
        self,
        call: Call[T],
        *,
        dry_run: bool = False,
        if_match: int | None = None,
        key: str | None = None,
    ) -> T:
        """Send a call and return its reply. Raises Refused for a problem, or Unreachable.

        A call that is answered arbiter-busy, or loses its connection, is sent again for 30 s with
        the same Idempotency-Key.
        """
        request, retry = request_of(self._http, call, dry_run, if_match, key), Retry(self._where)
        while True:
            try:
                return _read(call, self._http.send(request))
            except (httpx.TransportError, Refused) as error:
                _raise_unless_retried(error, retry)
            time.sleep(PAUSE_S)

    def events(
        self, *, since: str | int = "", domain: Ref | None = None, kinds: Sequence[str] = ()
    ) -> Iterator[history_replies.Event]:
        """Yield events without end; a lost stream continues after the last event.

        `since` is the id of the last event seen, "0" for all there are, "" for those from now on.
        Give `domain` as a UUID: a name may become another domain's. Raises Refused for a problem,
        and Unreachable if the first connection fails.
        """
        position = Position(since, domain, kinds)
        while True:
            try:
                with self._http.stream("GET", "/v1/events", **position.request()) as reply:
                    if reply.status_code != 200:
                        reply.read()
                        _raise_refusal(reply, position)
                    for line in reply.iter_lines():
                        event = position.read_line(line)
                        if event is not None:
                            yield event
            except events.LOST as error:
                if not position.is_known:
                    raise _unreachable(self._where, error) from error
            time.sleep(RECONNECT_S)

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
    """Client, for asyncio."""

    def __init__(
        self,
        socket: str | PathLike[str] = DEFAULT_SOCKET,
        *,
        url: str | None = None,
        token_file: str | None = None,
        **options: Any,
    ) -> None:
        if url is None:
            options.setdefault(
                "transport", httpx.AsyncHTTPTransport(uds=fspath(socket), verify=False)
            )
        self._where = url or fspath(socket)
        self._http = httpx.AsyncClient(**settings(url, token_file, options))

    async def do(
        self,
        call: Call[T],
        *,
        dry_run: bool = False,
        if_match: int | None = None,
        key: str | None = None,
    ) -> T:
        """As Client.do."""
        request, retry = request_of(self._http, call, dry_run, if_match, key), Retry(self._where)
        while True:
            try:
                return _read(call, await self._http.send(request))
            except (httpx.TransportError, Refused) as error:
                _raise_unless_retried(error, retry)
            await asyncio.sleep(PAUSE_S)

    async def events(
        self, *, since: str | int = "", domain: Ref | None = None, kinds: Sequence[str] = ()
    ) -> AsyncIterator[history_replies.Event]:
        """As Client.events."""
        position = Position(since, domain, kinds)
        while True:
            try:
                async with self._http.stream("GET", "/v1/events", **position.request()) as reply:
                    if reply.status_code != 200:
                        await reply.aread()
                        _raise_refusal(reply, position)
                    async for line in reply.aiter_lines():
                        event = position.read_line(line)
                        if event is not None:
                            yield event
            except events.LOST as error:
                if not position.is_known:
                    raise _unreachable(self._where, error) from error
            await asyncio.sleep(RECONNECT_S)

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


def _read(call: Call[T], reply: httpx.Response) -> T:
    try:
        if reply.headers.get("content-type", "").startswith("application/problem+json"):
            problem = replies.Problem.model_validate_json(reply.content)
            numbers = dict(problem.model_extra or {})
            raise Refused(problem.code, problem.detail, numbers, problem.status)
        return call.gives.model_validate_json(reply.content)
    except ValidationError as error:
        raise Unreachable(
            f"cannot read the reply to {call.method} {call.path} (HTTP {reply.status_code}):"
            " it comes from another version of maxmemd"
        ) from error


def _raise_unless_retried(error: httpx.TransportError | Refused, retry: Retry) -> None:
    """Raise the error of a request, unless it is to be sent again."""
    if isinstance(error, Refused):
        if error.code != BUSY or not retry.should_follow(error):
            raise error
    elif not retry.should_follow(error):
        raise _unreachable(retry.where, error) from error


def _raise_refusal(reply: httpx.Response, position: Position) -> None:
    """Raise the problem in a reply; once a position is known, a failing daemon is waited for."""
    if reply.status_code < 500 or not position.is_known:
        _read(_EVENTS, reply)


_EVENTS = Call("GET", "/v1/events", history_replies.Event)


def _unreachable(where: str, error: Exception) -> Unreachable:
    options = "verify, an ssl.SSLContext that loads"
    if (why := tls_trouble(error, cacert=options, cert=options)) is not None:
        return Unreachable(f"cannot talk to maxmemd at {where}: {why}")
    return Unreachable(
        f"cannot get a reply from maxmemd at {where}: {str(error) or type(error).__name__}"
    )


__all__ = ["AsyncClient", "Client", "Refused", "Unreachable", "calls"]
