"""GET /v1/events: where a client's stream begins, and what of it is wanted."""

import asyncio

from maxmemd.api import event_format
from maxmemd.api.handlers.service import Service, look
from maxmemd.api.problems import Rejected
from maxmemd.api.request import Request
from maxmemd.api.response import Response, StreamingResponse
from maxmemd.arbiter.messages import DomainView, Query, Subject
from maxmemd.policy.reference import Uuid, parse_reference


async def events(service: Service, call: Request) -> Response | StreamingResponse:
    """Tell what happens, as Server-Sent Events; resumed by Last-Event-ID, or by since."""
    kind, ref = call.query.get("kind"), call.query.get("domain")
    kinds = event_format.KINDS if kind is None else tuple(kind.split(","))
    if not set(kinds) <= set(event_format.KINDS):
        detail = f"cannot read the query: kind is one or more of {','.join(event_format.KINDS)}"
        raise Rejected("query-invalid", detail, parameter="kind")
    uuid = None if ref is None else ref.lower()
    if ref is not None and not isinstance(parse_reference(ref), Uuid):
        view = await look(service, Query(Subject.DOMAIN, ref), DomainView)
        if isinstance(view, Response):
            return view
        uuid = view.uuid
    after = call.after or call.query.get("since")
    if after is None:
        place = await asyncio.to_thread(service.tail.end)
    else:
        place = await asyncio.to_thread(event_format.position_of, after, service.tail)

    def wanted(event: event_format.FormattedEvent) -> bool:
        return event.kind in kinds and uuid in (None, event.uuid)

    client = call.peer.client
    service.feed.enter(client)
    pieces = service.feed.stream(place, wanted, lambda: service.gate.stands(call.peer))
    return StreamingResponse(pieces, b"text/event-stream", lambda: service.feed.leave(client))
