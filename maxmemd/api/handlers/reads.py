"""What the routes that only read do, in a few lines: a Call in, a Reply out."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from maxmemd import __version__
from maxmemd.api import metrics, serialize
from maxmemd.api.handlers.service import Service, as_json, look, refusal
from maxmemd.api.health import is_ready
from maxmemd.api.request import Request
from maxmemd.api.response import Response
from maxmemd.arbiter.messages import DomainView, LookAtDomains, LookAtHost, Refused
from maxmemd.policy.clauses import nothing_recorded, own_domain
from maxmemd.policy.components import Record
from maxmemd.units import Memory
from maxmemd.wire.replies import DomainsReply, Health, HostReply


async def get_host(service: Service, call: Request) -> Response:
    """Tell the host's memory."""
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
    """Tell all domains."""
    views = await service.mailbox.ask(LookAtDomains())
    return as_json(DomainsReply.model_construct(domains=[serialize.domain(v) for v in views]))


async def get_domain(service: Service, call: Request) -> Response:
    """Tell one domain."""
    view = await _domain(service, call)
    if isinstance(view, Response):
        return view
    revision = None if view.record is None else view.record.revision
    return as_json(serialize.domain(view), revision=revision)


async def get_record(service: Service, call: Request) -> Response:
    """Tell a record as it travels."""
    found = await _recorded(service, call)
    if isinstance(found, Response):
        return found
    _, record = found
    return as_json(serialize.exported(record), revision=record.revision)


async def explain(service: Service, call: Request) -> Response:
    """Tell why the limit is what it is."""
    found = await _recorded(service, call)
    if isinstance(found, Response):
        return found
    view, record = found
    revisions = sorted({component.revision for component in record.components.values()})
    generation = service.mailbox.status.generation
    made = await asyncio.to_thread(service.reader.made, record.uuid, revisions, generation)
    return as_json(serialize.explained(view, record, made), revision=record.revision)


async def history(service: Service, call: Request) -> Response:
    """Tell what was decided, newest first."""
    limit = call.number("limit", 50, 500) or 50
    before = call.number("before", None, 2**52)
    found = await _recorded(service, call)
    if isinstance(found, Response):
        return found
    rows = await asyncio.to_thread(
        service.reader.history, found[1].uuid, limit=limit, before=before
    )
    return as_json(serialize.history(rows, limit))


async def pushes(service: Service, call: Request) -> Response:
    """Tell what was pushed, newest first."""
    limit = call.number("limit", 50, 500) or 50
    found = await _recorded(service, call)
    if isinstance(found, Response):
        return found
    rows = await asyncio.to_thread(service.reader.pushes, found[1].uuid, limit=limit)
    return as_json(serialize.pushes(rows))


async def health(service: Service, call: Request) -> Response:
    """Tell whether every component is ready. Never asks the arbiter, so it always answers."""
    parts = service.parts()
    ready = all(is_ready(state) for state in parts.values())
    body = Health(live=True, ready=ready, parts=dict(parts))
    return Response(200 if ready else 503, body.model_dump_json().encode())


async def get_metrics(service: Service, call: Request) -> Response:
    """Tell the counters, in OpenMetrics' text format, or in Prometheus' for who wants that."""
    domains = await service.mailbox.ask(LookAtDomains())
    if service.disk.space is None:
        await service.disk.look()
    scene = metrics.Scene(
        service.mailbox,
        domains,
        service.parts(),
        service.event_stream.streams,
        service.disk.space,
        service.refusals.counts,
    )
    plain = metrics.wants_plain(call.accept)
    text = await asyncio.to_thread(metrics.scraped, scene, plain=plain)
    return Response(200, text, metrics.PLAIN if plain else metrics.OPENMETRICS)


async def _recorded(service: Service, call: Request) -> tuple[DomainView, Record] | Response:
    """Return a domain that has a record, alive or not."""
    view = await _domain(service, call)
    if isinstance(view, Response):
        return view
    if view.record is None:
        return refusal(Refused(nothing_recorded(call.ref)))
    return view, view.record


async def _domain(service: Service, call: Request) -> DomainView | Response:
    """Return the domain that is meant; to a device model only its own."""
    view = await look(service, call.ref)
    if call.bond is None or isinstance(view, Response) or view.domid is None:
        return view
    foreign = own_domain(call.bond, view.domid, view.uuid)
    return view if foreign is None else refusal(Refused(foreign))
