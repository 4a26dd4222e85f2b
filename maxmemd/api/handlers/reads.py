"""Handlers of the routes that only read: a Request in, a Response out."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from maxmemd import __version__
from maxmemd.api import metrics, serialize
from maxmemd.api.drift import drift_reply, findings
from maxmemd.api.handlers.service import Service, as_json, look, refusal
from maxmemd.api.health import is_ready
from maxmemd.api.request import Request
from maxmemd.api.response import Response
from maxmemd.arbiter.messages import DomainView, LookAtDomains, LookAtHost, Refused
from maxmemd.policy.components import Record
from maxmemd.policy.which_domain import nothing_recorded, own_domain
from maxmemd.units import Memory
from maxmemd.wire.replies import Condition, DomainsReply, Health, HostReply


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
    """Return all domains."""
    views = await service.mailbox.ask(LookAtDomains())
    return as_json(DomainsReply.model_construct(domains=[serialize.domain(v) for v in views]))


async def get_domain(service: Service, call: Request) -> Response:
    """Return one domain."""
    view = await _get_domain(service, call)
    if isinstance(view, Response):
        return view
    revision = None if view.record is None else view.record.revision
    return as_json(serialize.domain(view), revision=revision)


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
    entries = await asyncio.to_thread(service.reader.entries_of, record.uuid, revisions, generation)
    return as_json(serialize.explanation(view, record, entries), revision=record.revision)


async def get_drift(service: Service, call: Request) -> Response:
    """Return what becomes of a maximum that another program writes, and until when."""
    found = await _get_recorded(service, call)
    if isinstance(found, Response):
        return found
    view, record = found
    return as_json(drift_reply(view), revision=record.revision)


async def history(service: Service, call: Request) -> Response:
    """Return the decisions about a domain, newest first."""
    limit = call.number("limit", 50, 500) or 50
    before = call.number("before", None, 2**52)
    found = await _get_recorded(service, call)
    if isinstance(found, Response):
        return found
    rows = await asyncio.to_thread(
        service.reader.history, found[1].uuid, limit=limit, before=before
    )
    return as_json(serialize.history(rows, limit))


async def pushes(service: Service, call: Request) -> Response:
    """Return the pushes of a domain, newest first."""
    limit = call.number("limit", 50, 500) or 50
    found = await _get_recorded(service, call)
    if isinstance(found, Response):
        return found
    rows = await asyncio.to_thread(service.reader.pushes, found[1].uuid, limit=limit)
    return as_json(serialize.pushes(rows))


async def health(service: Service, call: Request) -> Response:
    """Return whether each part is ready. Never asks the arbiter, so it always answers."""
    parts = service.parts()
    ready = all(is_ready(state) for state in parts.values())
    status = service.mailbox.status
    fights = () if status.figures is None else status.figures.fights
    body = Health(
        live=True,
        ready=ready,
        parts=dict(parts),
        findings=findings(fights, service.config),
        conditions=[Condition(**each._asdict()) for each in status.conditions],
    )
    return Response(200 if ready else 503, body.model_dump_json().encode())


async def get_metrics(service: Service, call: Request) -> Response:
    """Return the metrics in OpenMetrics' text format, or in Prometheus' if asked for."""
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
    text = await asyncio.to_thread(metrics.to_text, scene, plain=plain)
    return Response(200, text, metrics.PLAIN if plain else metrics.OPENMETRICS)


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
    foreign = own_domain(call.bond, view.domid, view.uuid)
    return view if foreign is None else refusal(Refused(foreign))
