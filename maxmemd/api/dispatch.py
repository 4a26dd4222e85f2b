"""Dispatch a raw request to its route; turn every failure into a problem document.

Without a framework, because FastAPI's dependency solver costs more than the decision.
"""

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import unquote

from maxmemd.api import problems
from maxmemd.api.asgi import Headers, Receive, Scope, Send
from maxmemd.api.auth.access import anyone
from maxmemd.api.auth.cost import Cost, not_found, opened, plain
from maxmemd.api.auth.peers import Peer, named
from maxmemd.api.disconnect import send_stream, while_wanted
from maxmemd.api.handlers.service import Service
from maxmemd.api.pages import pages
from maxmemd.api.problems import Rejected
from maxmemd.api.request import read_request, refuse_browser
from maxmemd.api.response import Response, StreamingResponse, send_response
from maxmemd.api.routes import PATTERNS, ROUTES, Route
from maxmemd.api.routing import RoutingTable
from maxmemd.api.server.slow_readers import ReadScheduler
from maxmemd.arbiter.messages import DomainView, LookAtDomain
from maxmemd.errors import MaxmemError
from maxmemd.policy.roles import Bond
from maxmemd.policy.verdicts import Refusal
from maxmemd.policy.which_domain import no_own_domain
from maxmemd.rest.reply import HOST_HEADER, SIMULATED
from maxmemd.wire.requests import FORMS

LOG = logging.getLogger("maxmemd.api")

_GRAMMAR = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
MOST_CACHED = 256
"""Only paths of fewer bytes are cached, which bounds the memory of the cache."""


_Found = tuple[Route, Mapping[str, str], str | None]
"""A route, its path parameters, and the first malformed one."""


class Dispatcher:
    """The ASGI application that the server runs."""

    def __init__(self, service: Service, routes: Sequence[Route] = ROUTES) -> None:
        self._service = service
        self.admission, self.refusals = service.admission, service.refusals
        self.read_scheduler = ReadScheduler()
        self._table = RoutingTable(routes)
        self._pages = pages(simulated=service.simulated)
        host = (HOST_HEADER.encode(), SIMULATED.encode())
        self.common: Headers = (host,) if service.simulated else ()
        """The headers of every response."""
        self._known = lru_cache(maxsize=4096)(self._find)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        with scope["maxmemd.peer"].held():
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope["raw_path"]
        find = self._known if len(raw) < MOST_CACHED else self._find
        found = find(scope["method"], raw)
        if found is None:
            await send_response(send, self._reply_without_route(scope), self.common)
            return
        reply = await self._serve(found, scope, receive)
        if isinstance(reply, StreamingResponse):
            await send_stream(receive, send, reply, self.common)
        elif reply is not None:
            await send_response(send, reply, self.common)

    def _find(self, method: str, raw: bytes) -> _Found | None:
        """Return the route of a path. It is split before it is decoded: a name may have a slash.

        A path without a route is decoded as a whole and tried again: some clients write %76 for v.
        """
        text = raw.decode("latin-1")
        match = self._table.find(method, text)
        if match is not None:
            route, names, values = match
            path = {name: unquote(value) for name, value in zip(names, values, strict=True)}
        else:
            match = self._table.find(method, unquote(text)) if "%" in text else None
            if match is None or "" in match[2]:
                return None
            route, names, values = match
            path = dict(zip(names, values, strict=True))
        return route, MappingProxyType(path), _first_malformed(path)

    async def _serve(
        self, found: _Found, scope: Scope, receive: Receive
    ) -> Response | StreamingResponse | None:
        """Return the reply of a route, or a problem document; None if the client went away."""
        route, path, wrong = found
        try:
            peer = self._caller(scope, route.cost)
            self.admission.authorize(peer, route.access, path)
            _check_well_formed(wrong)
            call = await read_request(scope, receive, path, route.takes, route.query)
            if route.method != "GET":  # only of these it is kept who asked
                call = call._replace(peer=await named(peer))
            if peer.role.domid is not None and path:
                call = call._replace(bond=await self._bond(peer, peer.role.domid))
            # After the bond: a device model that lives now lived when its domain was looked up, and
            # libxl lets no domid be used again before it has ended the device model.
            _check_alive(peer)
            reply: Response | StreamingResponse | None
            if route.is_dear_read:
                reply = await while_wanted(receive, route.handler(self._service, call))
            else:
                reply = await route.handler(self._service, call)
            if isinstance(reply, Response) and reply.refusal is not None:
                self._log_refusal(route, peer, reply.refusal, scope)
                if reply.refusal.code == "unknown-domain":
                    self.admission.charge(peer, not_found)
            return reply
        except Rejected as rejected:
            return self._reply_to_rejected(scope, rejected)
        except MaxmemError as error:
            status, body = problems.of_error(error)
        except Exception:
            LOG.exception("%s %s failed", route.method, route.path)
            detail = "internal error in maxmemd; see its log"
            status, body = problems.document("internal", detail, {})
        return Response(status, body, problems.MEDIA_TYPE)

    def _log_refusal(self, route: Route, peer: Peer, refusal: Refusal, scope: Scope) -> None:
        """Log the arbiter's refusal of a write, or of a foreign domain; it has counted it."""
        if route.writes or refusal.code == "not-your-domain":
            method, path = scope["method"], scope["path"]
            self.refusals.log(peer, refusal.code, refusal.detail, method, path)

    def _reply_without_route(self, scope: Scope) -> Response:
        """Return a page that describes the API, or 405 or 404."""
        method, path = scope["method"], scope["path"]
        page = self._pages.get(path)
        try:
            self.admission.authorize(
                self._caller(scope, plain if page is None else opened), anyone, {}
            )
            for name, value in scope["headers"]:
                # A page may be reached by a link: it is the same for everybody, and does nothing.
                if page is None or name != b"referer":
                    refuse_browser(name, value)
        except Rejected as rejected:
            return self._reply_to_rejected(scope, rejected)
        if page is not None and method == "GET":
            return page
        allowed = self._table.methods(path) if page is None else {"GET"}
        code = "method-not-allowed" if allowed else "not-found"
        detail = f"cannot {method} {path}: see /v1/docs for what there is"
        status, body = problems.document(code, detail[:300], {})
        return Response(status, body, problems.MEDIA_TYPE, allow=", ".join(sorted(allowed)))

    def _caller(self, scope: Scope, cost: Cost) -> Peer:
        """Return the caller, who can afford this, and put it into the scope. Raises Rejected."""
        caller = scope["maxmemd.peer"] = self.admission.identify(scope, cost)
        return caller

    def _reply_to_rejected(self, scope: Scope, rejected: Rejected) -> Response:
        """Count and log a refusal; return its problem document."""
        status, body = problems.document(rejected.code, rejected.detail, rejected.numbers)
        peer = scope["maxmemd.peer"]
        self.refusals.count_and_log(
            peer, rejected.code, rejected.detail, scope["method"], scope["path"]
        )
        return Response(status, body, problems.MEDIA_TYPE, retry_s=rejected.retry_s)

    async def _bond(self, peer: Peer, domid: int) -> Bond:
        """Return the domain that a device model may touch. Raises Rejected or MaxmemError."""
        found = await asyncio.shield(self._pin(peer, domid))
        if isinstance(found, MaxmemError):
            raise found
        if found is None:
            refusal = no_own_domain(domid)
            raise Rejected(refusal.code, refusal.detail, **refusal.numbers)
        return found

    def pin_domain(self, peer: Peer) -> None:
        """Pin the domain of a device model when it connects, because domids are reused (A6)."""
        if peer.role.domid is not None:
            self._pin(peer, peer.role.domid)

    def _pin(self, peer: Peer, domid: int) -> asyncio.Task[Bond | MaxmemError | None]:
        if peer.pin.task is None:
            peer.pin.task = asyncio.create_task(self._domain_of(domid))
        return peer.pin.task

    async def _domain_of(self, domid: int) -> Bond | MaxmemError | None:
        try:
            view = await self._service.mailbox.ask(LookAtDomain(str(domid)))
        except MaxmemError as error:
            return error
        if not isinstance(view, DomainView):
            return None
        return Bond(domid, view.uuid, None if view.xen is None else view.xen.unique_id)


def _first_malformed(path: Mapping[str, str]) -> str | None:
    """Return the name of the first malformed path parameter, if any."""
    wrong = (name for name, value in path.items() if not _GRAMMAR[name].fullmatch(value))
    return next(wrong, None)


def _check_well_formed(wrong: str | None) -> None:
    if wrong is not None:
        detail = f"cannot use the path: {wrong}: {FORMS[PATTERNS[wrong]]}"
        raise Rejected("path-invalid", detail, parameter=wrong)


def _check_alive(peer: Peer) -> None:
    """Refuse a request that waited until its process was gone. Raises Rejected."""
    if not peer.is_alive:
        detail = "cannot serve this request: the process that opened its connection has ended"
        raise Rejected("caller-gone", detail, pid=peer.pid)
