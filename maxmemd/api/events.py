"""GET /v1/events: where a client's stream begins, and what of it is wanted."""

import asyncio

from maxmemd.api import happened
from maxmemd.api.call import Call, Reply, Stream
from maxmemd.api.handlers import Service, look
from maxmemd.api.problems import Rejected
from maxmemd.asks import DomainView, Look, Subject
from maxmemd.census import is_uuid


async def events(service: Service, call: Call) -> Reply | Stream:
    """Tell what happens, as Server-Sent Events; resumed by Last-Event-ID, or by since."""
    kind, ref = call.query.get("kind"), call.query.get("domain")
    kinds = happened.KINDS if kind is None else tuple(kind.split(","))
    if not set(kinds) <= set(happened.KINDS):
        detail = f"cannot read the query: kind is one or more of {','.join(happened.KINDS)}"
        raise Rejected("query-invalid", detail, parameter="kind")
    uuid = None if ref is None else ref.lower()
    if ref is not None and not is_uuid(ref):
        view = await look(service, Look(Subject.DOMAIN, ref), DomainView)
        if isinstance(view, Reply):
            return view
        uuid = view.uuid
    after = call.after or call.query.get("since")
    if after is None:
        place = await asyncio.to_thread(service.tail.end)
    else:
        place = await asyncio.to_thread(happened.place_of, after, service.tail)

    def wanted(event: happened.Event) -> bool:
        return event.kind in kinds and uuid in (None, event.uuid)

    client = call.peer.client
    service.feed.enter(client)
    pieces = service.feed.stream(place, wanted, lambda: service.gate.stands(call.peer))
    return Stream(pieces, b"text/event-stream", lambda: service.feed.leave(client))
