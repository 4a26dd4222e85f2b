"""Handlers of the routes that only read: a Request in, a Response out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from maxmemd import __version__
from maxmemd.api import domain_json, metrics, serialize
from maxmemd.api.auth.cost import MOST_ROWS, ROWS_UNLESS_ASKED
from maxmemd.api.drift import drift_reply, findings
from maxmemd.api.handlers.service import Service, as_json, look, refusal, to_bytes
from maxmemd.api.health import is_ready, service_conditions
from maxmemd.api.reading.strides import Reading
from maxmemd.api.request import Request
from maxmemd.api.response import Response
from maxmemd.arbiter.messages import DomainView, LookAtHost, Refused
from maxmemd.ledger.reader import Encoder, ReadPage
from maxmemd.policy.components import Record
from maxmemd.policy.which_domain import nothing_recorded, own_domain
from maxmemd.units import Memory
from maxmemd.wire.daemon_replies import Condition, Health, HostReply


async def get_host(service: Service, call: Request) -> Response:
    """Return the host's memory."""
    host = await service.mailbox.ask(LookAtHost())
    facts = host.facts
    return as_json(
        HostReply(
            hypervisor=facts.hypervisor,
            simulated=service.simulated,
            total_kib=Memory.of_pages(facts.total_pages).kib,
            free_kib=Memory.of_pages(facts.free_pages).kib,
            scrub_kib=Memory.of_pages(facts.scrub_pages).kib,
            outstanding_kib=Memory.of_pages(facts.outstanding_pages).kib,
            sharing_freed_kib=Memory.of_pages(facts.sharing_freed_pages).kib,
            sharing_used_kib=Memory.of_pages(facts.sharing_used_pages).kib,
            drift=cast(Any, service.config.drift),
            floor=cast(Any, service.config.floor),
            domains=host.domains,
            version=__version__,
        )
    )


async def get_domains(service: Service, call: Request) -> Response:
    """Return all domains; at most a second old, and never older than the last change."""
    return Response(200, await service.all_domains.get())


async def get_domain(service: Service, call: Request) -> Response:
    """Return one domain."""
    view = await _get_domain(service, call)
    if isinstance(view, Response):
        return view
    revision = None if view.record is None else view.record.revision
    return Response(200, domain_json.domain(view), revision=revision)


async def get_record(service: Service, call: Request) -> Response:
    """Export a record."""
    found = await _get_recorded(service, call)
    if isinstance(found, Response):
        return found
    _, record = found
    return as_json(serialize.exported_record(record), revision=record.revision)


async def explain(service: Service, call: Request) -> Response:
    """Explain why the limit is what it is."""
    found = await _get_recorded(service, call)
    if isinstance(found, Response):
        return found
    view, record = found
    revisions = sorted({component.revision for component in record.components.values()})
    generation = service.mailbox.status.generation

    def read(reading: Reading) -> bytes:
        made_by = service.reader.made_by(record.uuid, revisions, generation, reading.deadline)
        reading.rest()
        return to_bytes(serialize.explanation(view, record, made_by))

    return Response(200, await _in_pool(service, call, read), revision=record.revision)


async def get_drift(service: Service, call: Request) -> Response:
    """Return what becomes of a maximum that another program writes, and until when."""
    found = await _get_recorded(service, call)
    if isinstance(found, Response):
        return found
    view, record = found
    return as_json(drift_reply(view), revision=record.revision)


async def history(service: Service, call: Request) -> Response:
    """Return a page of the decisions about a domain, newest first."""
    return await _get_page(service, call, "entries", service.reader.history, serialize.entry)


async def pushes(service: Service, call: Request) -> Response:
    """Return a page of the pushes of a domain, newest first."""
    return await _get_page(service, call, "pushes", service.reader.pushes, serialize.past_push)


async def _get_page(
    service: Service, call: Request, kind: str, read_page: ReadPage, encode: Encoder
) -> Response:
    limit = call.number("limit", ROWS_UNLESS_ASKED, MOST_ROWS) or ROWS_UNLESS_ASKED
    before = call.number("before", None, 2**52)
    found = await _get_recorded(service, call)
    if isinstance(found, Response):
        return found

    def read(reading: Reading) -> bytes:
        page = read_page(
            found[1].uuid,
            reading.resting(encode),
            limit=limit,
            before=before,
            until=reading.deadline,
        )
        return serialize.page(kind, page)

    return Response(200, await _in_pool(service, call, read))


async def health(service: Service, call: Request) -> Response:
    """Return whether each part is ready. Never asks the arbiter, so it always answers."""
    parts = service.parts()
    ready = all(is_ready(state) for state in parts.values())
    status = service.mailbox.status
    fights = () if status.figures is None else status.figures.fights
    body = Health(
        live=True,
        ready=ready,
        simulated=service.simulated,
        parts=dict(parts),
        findings=findings(fights, service.config),
        conditions=[Condition(**each._asdict()) for each in status.conditions],
        service=service_conditions(status),
        history=service.proved,
    )
    return Response(200 if ready else 503, body.model_dump_json().encode())


async def get_metrics(service: Service, call: Request) -> Response:
    """Return the metrics in OpenMetrics' text format, or in Prometheus' if asked for."""
    plain = metrics.wants_plain(call.accept)
    text = await service.metrics[plain].get()
    return Response(200, text, metrics.PLAIN if plain else metrics.OPENMETRICS)


async def _in_pool(service: Service, call: Request, read: Callable[[Reading], bytes]) -> bytes:
    """Return what is read in a thread for clients of the caller's role."""
    return await service.reads.of(call.peer.role.name).run(call.peer.client, read)


async def _get_recorded(service: Service, call: Request) -> tuple[DomainView, Record] | Response:
    """Return a domain and its record, whether or not the domain is alive."""
    view = await _get_domain(service, call)
    if isinstance(view, Response):
        return view
    if view.record is None:
        return refusal(Refused(nothing_recorded(call.ref)))
    return view, view.record


async def _get_domain(service: Service, call: Request) -> DomainView | Response:
    """Return the requested domain; a device model sees only its own."""
    view = await look(service, call.ref)
    if call.bond is None or isinstance(view, Response) or view.domid is None:
        return view
    unique_id = None if view.xen is None else view.xen.unique_id
    foreign = own_domain(call.bond, view.domid, view.uuid, unique_id)
    return view if foreign is None else refusal(Refused(foreign))
