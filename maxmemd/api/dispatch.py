"""From a raw request to a route's reply, and every failure to a problem document.

The routes of routes.py are served here without FastAPI's dependency solver, which costs more
than the decision; what is no route of ours (documentation, 404, 405) goes on to FastAPI.
"""

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from functools import lru_cache
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import unquote

from maxmemd.api import problems
from maxmemd.api.auth.access import anyone
from maxmemd.api.auth.peers import UNKNOWN_PEER, Peer
from maxmemd.api.handlers.service import Service
from maxmemd.api.problems import Rejected
from maxmemd.api.request import read_request, refuse_browser
from maxmemd.api.response import Response, StreamingResponse, send_response
from maxmemd.api.routes import PATTERNS, Route
from maxmemd.api.server.slow_readers import ReadScheduler
from maxmemd.arbiter.messages import DomainView, Query, Subject
from maxmemd.errors import MaxmemError
from maxmemd.policy.clauses import no_own_domain
from maxmemd.policy.roles import Bond
from maxmemd.policy.verdicts import Refusal

LOG = logging.getLogger("maxmemd.api")

_GRAMMAR = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
MOST_CACHED = 256
"""Paths of fewer bytes are looked up once; so many of them are kept that it is no great memory."""

_Found = tuple[Route | None, Mapping[str, str], str | None]


class Dispatcher:
    """The ASGI application that the server runs."""

    def __init__(self, service: Service, routes: Sequence[Route], behind: Any) -> None:
        self._service = service
        self._behind = behind
        self.gate, self.refusals = service.gate, service.refusals
        self.lane = ReadScheduler()
        self._routes = {_shape(route): route for route in routes}
        self._parameters = {
            route: tuple(
                (place, part[1:-1])
                for place, part in enumerate(route.path.split("/"))
                if part.startswith("{")
            )
            for route in routes
        }
        self._known = lru_cache(maxsize=4096)(self._find)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._behind(scope, receive, send)
            return
        raw = scope["raw_path"]
        found = self._known if len(raw) < MOST_CACHED else self._find
        route, path, wrong = found(scope["method"], raw)
        if route is None:
            await self._beyond(scope, receive, send)
        else:
            reply = await self.serve(route, path, wrong, scope, receive)
            if isinstance(reply, StreamingResponse):
                await send_stream(receive, send, reply)
            else:
                await send_response(send, reply)

    def _find(self, method: str, raw: bytes) -> "_Found":
        """Return the route of a path, its parameters, and which of them is not well formed."""
        parts = raw.decode("latin-1").split("/")
        route = self._routes.get(_shape_of(method, parts))
        if route is None:
            return None, {}, None
        path = {name: unquote(parts[place]) for place, name in self._parameters[route]}
        return route, MappingProxyType(path), malformed(path)

    async def serve(
        self, route: Route, path: Mapping[str, str], wrong: str | None, scope: Any, receive: Any
    ) -> Response | StreamingResponse:
        """Return the reply of a route, or the problem that came up."""
        try:
            peer = self._caller(scope)
            self.gate.admit(peer, route.access, path)
            _well_formed(wrong)
            call = await read_request(scope, receive, path, route.takes, route.query)
            if peer.role.domid is not None and path:
                call = call._replace(bond=await self._bond(peer, peer.role.domid))
            reply = await route.handler(self._service, call)
            if isinstance(reply, Response) and reply.refusal is not None:
                self._tell(route, peer, reply.refusal, scope)
            return reply
        except Rejected as rejected:
            return self._rejected(scope, rejected)
        except MaxmemError as error:
            status, body = problems.of_error(error)
        except Exception:
            LOG.exception("%s %s failed", route.method, route.path)
            detail = "cannot serve this: it is a fault of maxmemd, which its log describes"
            status, body = problems.document("internal", detail, {})
        return Response(status, body, problems.MEDIA_TYPE)

    def _tell(self, route: Route, peer: Peer, refusal: Refusal, scope: Any) -> None:
        """Log what the arbiter refused to change, or to tell to a stranger; it counts those."""
        if route.writes or refusal.code == "not-your-domain":
            method, path = scope["method"], scope["path"]
            self.refusals.tell(peer, refusal.code, refusal.detail, method, path)

    async def _beyond(self, scope: Any, receive: Any, send: Any) -> None:
        """Let FastAPI answer what is no route of ours, to whom it may be told."""
        try:
            self.gate.admit(self._caller(scope), anyone, {})
            for name, value in scope["headers"]:
                refuse_browser(name, value)
        except Rejected as rejected:
            await send_response(send, self._rejected(scope, rejected))
        else:
            await self._behind(scope, receive, send)

    def _caller(self, scope: Any) -> Peer:
        """Return who asks. Raises Rejected."""
        if "maxmemd.caller" not in scope:  # else FastAPI found our route by an odd way to write it
            scope.setdefault("maxmemd.peer", UNKNOWN_PEER)
            scope["maxmemd.peer"] = scope["maxmemd.caller"] = self.gate.caller(scope)
        caller: Peer = scope["maxmemd.caller"]
        return caller

    def _rejected(self, scope: Any, rejected: Rejected) -> Response:
        """Return the reply to what is refused; it is counted, and in the log."""
        status, body = problems.document(rejected.code, rejected.detail, rejected.numbers)
        peer = scope.get("maxmemd.peer", UNKNOWN_PEER)
        self.refusals.refuse(peer, rejected.code, rejected.detail, scope["method"], scope["path"])
        return Response(status, body, problems.MEDIA_TYPE, retry_s=rejected.retry_s)

    async def _bond(self, peer: Peer, domid: int) -> Bond:
        """Return the domain that a device model is bound to. Raises Rejected or MaxmemError."""
        self.meet(peer)
        found = await asyncio.shield(cast("asyncio.Task[str | MaxmemError | None]", peer.pin.task))
        if isinstance(found, MaxmemError):
            raise found
        if found is None:
            refusal = no_own_domain(domid)
            raise Rejected(refusal.code, refusal.detail, **refusal.numbers)
        return Bond(domid, found)

    def meet(self, peer: Peer) -> None:
        """Pin the domain of a device model that has just connected; domids return (A6)."""
        if peer.role.domid is not None and peer.pin.task is None:
            peer.pin.task = asyncio.create_task(self._uuid_of(peer.role.domid))

    async def _uuid_of(self, domid: int) -> str | MaxmemError | None:
        try:
            view = await self._service.mailbox.ask(Query(Subject.DOMAIN, str(domid)))
        except MaxmemError as error:
            return error
        return view.uuid if isinstance(view, DomainView) else None


def malformed(path: Mapping[str, str]) -> str | None:
    """Return the first path parameter that is not of its form, if there is one."""
    wrong = (name for name, value in path.items() if not _GRAMMAR[name].fullmatch(value))
    return next(wrong, None)


def _well_formed(wrong: str | None) -> None:
    if wrong is not None:
        detail = f"cannot use the path: {wrong} is not of the form {PATTERNS[wrong]}"
        raise Rejected("path-invalid", detail, parameter=wrong)


async def send_stream(receive: Any, send: Any, stream: StreamingResponse) -> None:
    """Send a stream until it ends or the client is gone."""
    headers = [(b"content-type", stream.media_type), (b"cache-control", b"no-store")]
    gone = asyncio.create_task(_gone(receive))
    sending = asyncio.create_task(_send_pieces(send, headers, stream))
    try:
        await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (gone, sending):
            task.cancel()
        stream.close()
    with suppress(asyncio.CancelledError):
        await sending


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_pieces(send: Any, headers: Any, stream: StreamingResponse) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    try:
        async with aclosing(stream.pieces) as pieces:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
    except MaxmemError as error:
        LOG.warning("a stream ends, its client may resume it: %s", error)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _shape(route: Route) -> tuple[str, ...]:
    return _shape_of(route.method, route.path.split("/"))


def _shape_of(method: str, parts: Sequence[str]) -> tuple[str, ...]:
    """Return what tells routes apart: method, number of parts, noun, and the verb at the end."""
    parts = parts if len(parts) > 1 else ("", *parts)
    noun = parts[2] if len(parts) > 2 else parts[-1]
    verb = parts[4] if len(parts) > 4 else ""
    last = parts[7] if len(parts) > 7 else ""
    return method, parts[1], noun, verb, last, str(len(parts))
