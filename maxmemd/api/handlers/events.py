"""GET /v1/events: where a client's stream begins, and its filter."""

from maxmemd.api import event_format
from maxmemd.api.handlers.service import Service, look
from maxmemd.api.reading.strides import Reading
from maxmemd.api.request import Request
from maxmemd.api.response import Response, StreamingResponse
from maxmemd.ledger.follow import Position
from maxmemd.policy.reference import Uuid, parse_reference


async def events(service: Service, call: Request) -> Response | StreamingResponse:
    """Stream events as Server-Sent Events; resumed by Last-Event-ID or by since."""
    kind, ref = call.query.get("kind"), call.query.get("domain")
    kinds = None if kind is None else event_format.kinds_of(kind)
    uuid = None if ref is None else ref.lower()
    if ref is not None and not isinstance(parse_reference(ref), Uuid):
        view = await look(service, ref)
        if isinstance(view, Response):
            return view
        uuid = view.uuid
    after = call.after or call.query.get("since")

    def find(_: Reading) -> Position:
        if after is None:
            return service.follower.end()
        return event_format.position_of(after, service.follower)

    place = await service.reads.of(call.peer.role.name).run(call.peer.client, find)

    def wanted(event: event_format.FormattedEvent) -> bool:
        return (kinds is None or event.kind in kinds) and uuid in (None, event.uuid)

    client = call.peer.client
    service.event_stream.add_client(client)
    pieces = service.event_stream.stream(
        place, wanted, lambda: service.admission.is_current(call.peer)
    )
    return StreamingResponse(
        pieces, b"text/event-stream", lambda: service.event_stream.remove_client(client)
    )
