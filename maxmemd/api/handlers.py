"""What each route does, in a few lines: a Call in, a Reply out.

Nothing is decided here. A refusal or an error becomes a problem in front.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from maxmemd import __version__, wire
from maxmemd.api import metrics, problems, readiness, replies
from maxmemd.api.call import Call, Reply, Stream
from maxmemd.api.feed import Feed
from maxmemd.api.peers import relayed
from maxmemd.api.problems import Rejected
from maxmemd.api.readiness import Disk, parts_of
from maxmemd.asks import Ask, DomainView, Granted, HostView, Look, Refused, Subject
from maxmemd.config import Config
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.tail import LedgerTail
from maxmemd.mailbox import Mailbox
from maxmemd.policy.clauses import own_domain
from maxmemd.policy.components import Key, Record
from maxmemd.policy.roles import Bond
from maxmemd.policy.wishes import (
    Build,
    Headroom,
    Import,
    Increase,
    RemoveComponent,
    Rollback,
    SetComponent,
    SetLimit,
    SetTarget,
    Wish,
)
from maxmemd.tokens import Tokens
from maxmemd.units import Memory


@dataclass(slots=True)
class Service:
    """What handlers may use. `integrity` is what is known of the ledger's whole chain."""

    mailbox: Mailbox
    reader: LedgerReader
    tail: LedgerTail
    feed: Feed
    config: Config
    simulated: bool
    disk: Disk
    tokens: Tokens
    integrity: str = "being checked"

    def parts(self) -> Mapping[str, str]:
        """Return every part of the daemon and its state."""
        feed, disk = self.feed.trouble, self.disk.state
        return parts_of(self.mailbox, self.integrity, feed, disk)

    def each_second(self) -> None:
        """Do what is to be done about once a second."""
        self.mailbox.give_up()
        self.disk.each_second()


T = TypeVar("T")
Handler = Callable[[Service, Call], Awaitable[Reply | Stream]]


async def set_limit(service: Service, call: Call) -> Reply:
    """Xl mem-max."""
    body: wire.LimitRequest = call.body
    wish = SetLimit(Memory(kib=body.limit_kib), body.force, body.static_max)
    return await _wished(service, call, wish)


async def set_target(service: Service, call: Call) -> Reply:
    """Xl mem-set."""
    body: wire.TargetRequest = call.body
    target = None if body.target_kib is None else Memory(kib=body.target_kib)
    return await _wished(service, call, SetTarget(target, body.by_kib, body.enforce))


async def set_component(service: Service, call: Call) -> Reply:
    """Set one component."""
    wish = SetComponent(_key(call), Memory(kib=call.body.amount_kib))
    return await _wished(service, call, wish)


async def remove_component(service: Service, call: Call) -> Reply:
    """Remove one component."""
    return await _wished(service, call, RemoveComponent(_key(call)))


async def increase(service: Service, call: Call) -> Reply:
    """Add to one component."""
    return await _wished(service, call, Increase(_key(call), call.body.by_kib))


async def build(service: Service, call: Call) -> Reply:
    """Take note that libxl is about to build."""
    body: wire.BuildRequest = call.body
    static_max = None if body.static_max_kib is None else Memory(kib=body.static_max_kib)
    wish = Build(Memory(kib=body.target_kib), body.life, static_max)
    return await _wished(service, call, wish)


async def headroom(service: Service, call: Call) -> Reply:
    """Make room for what a device model is about to populate."""
    return await _wished(service, call, Headroom(call.body.pages))


async def relayed_headroom(service: Service, call: Call) -> Reply:
    """Make room for what a device model in a stub domain is about to populate.

    A domid alone is not enough: it may be another domain by now (A6). Nor is a UUID: it means the
    elder of two instances, and of a local migration each has a stub domain of its own.
    """
    body: wire.RelayedHeadroomRequest = call.body
    if not (call.ref.isascii() and call.ref.isdigit() and len(call.ref) < 10):
        detail = "cannot use the path: a stub domain serves a domain by its domid"
        raise Rejected("path-invalid", detail, parameter="ref")
    peer, bond = relayed(call.peer, body.stub_domid), Bond(int(call.ref), body.uuid)
    return await _wished(service, call._replace(peer=peer, bond=bond), Headroom(body.pages))


async def rollback(service: Service, call: Call) -> Reply:
    """Go back to an earlier revision."""
    return await _wished(service, call, Rollback(call.body.revision, call.body.force))


async def put_record(service: Service, call: Call) -> Reply:
    """Take a record that comes with its domain."""
    body: wire.RecordBody = call.body
    amounts = {(part.owner, part.name): Memory(kib=part.amount_kib) for part in body.components}
    static_max = None if body.static_max_kib is None else Memory(kib=body.static_max_kib)
    return await _wished(service, call, Import(amounts, static_max))


async def get_host(service: Service, call: Call) -> Reply:
    """Tell the host's memory."""
    host = await look(service, Look(Subject.HOST), HostView)
    if isinstance(host, Reply):
        return host
    facts = host.facts
    return _json(
        wire.HostReply(
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


async def get_domains(service: Service, call: Call) -> Reply:
    """Tell all domains."""
    views = cast(tuple[DomainView, ...], await service.mailbox.ask(Look(Subject.DOMAINS)))
    return _json(wire.DomainsReply.model_construct(domains=[replies.domain(v) for v in views]))


async def get_domain(service: Service, call: Call) -> Reply:
    """Tell one domain."""
    view = await _domain(service, call)
    if isinstance(view, Reply):
        return view
    revision = None if view.record is None else view.record.revision
    return _json(replies.domain(view), revision=revision)


async def get_record(service: Service, call: Call) -> Reply:
    """Tell a record as it travels."""
    found = await _recorded(service, call)
    if isinstance(found, Reply):
        return found
    _, record = found
    return _json(replies.exported(record), revision=record.revision)


async def explain(service: Service, call: Call) -> Reply:
    """Tell why the limit is what it is."""
    found = await _recorded(service, call)
    if isinstance(found, Reply):
        return found
    view, record = found
    revisions = sorted({part.revision for part in record.parts.values()})
    forgets = service.mailbox.forgets
    made = await asyncio.to_thread(service.reader.made, record.uuid, revisions, forgets)
    return _json(replies.explained(view, record, made), revision=record.revision)


async def history(service: Service, call: Call) -> Reply:
    """Tell what was decided, newest first."""
    limit = call.number("limit", 50, 500) or 50
    before = call.number("before", None, 2**52)
    found = await _recorded(service, call)
    if isinstance(found, Reply):
        return found
    rows = await asyncio.to_thread(
        service.reader.history, found[1].uuid, limit=limit, before=before
    )
    return _json(replies.history(rows, limit))


async def pushes(service: Service, call: Call) -> Reply:
    """Tell what was pushed, newest first."""
    limit = call.number("limit", 50, 500) or 50
    found = await _recorded(service, call)
    if isinstance(found, Reply):
        return found
    rows = await asyncio.to_thread(service.reader.pushes, found[1].uuid, limit=limit)
    return _json(replies.pushes(rows))


async def health(service: Service, call: Call) -> Reply:
    """Tell whether every part is ready. Never asks the arbiter, so it always answers."""
    parts = service.parts()
    ready = all(readiness.is_ready(state) for state in parts.values())
    body = wire.Health(live=True, ready=ready, parts=dict(parts))
    return Reply(200 if ready else 503, body.model_dump_json().encode())


async def get_metrics(service: Service, call: Call) -> Reply:
    """Tell the counters, in OpenMetrics' text format, or in Prometheus' for who wants that."""
    views = await service.mailbox.ask(Look(Subject.DOMAINS))
    domains = cast(tuple[DomainView, ...], views)
    if service.disk.space is None:
        await service.disk.look()
    scene = metrics.Scene(
        service.mailbox, domains, service.parts(), service.feed.streams, service.disk.space
    )
    plain = metrics.wants_plain(call.accept)
    text = await asyncio.to_thread(metrics.scraped, scene, plain=plain)
    return Reply(200, text, metrics.PLAIN if plain else metrics.OPENMETRICS)


async def _wished(service: Service, call: Call, wish: Wish) -> Reply:
    """Put a wish to the arbiter; 200 when it is in force, 202 when it is durable but not yet."""
    ask = Ask(
        call.ref,
        wish,
        call.peer.actor,
        "" if call.body is None else call.body.reason,
        call.dry_run,
        call.if_match,
        call.key,
        call.bond,
    )
    answer = await service.mailbox.ask(ask)
    if isinstance(answer, Refused):
        return _refusal(answer)
    granted = cast(Granted, answer)
    push = granted.push
    in_force = push is None or push.state in replies.IN_FORCE
    body = replies.decision(granted)
    return Reply(200 if in_force else 202, body, revision=granted.record.revision)


async def _recorded(service: Service, call: Call) -> tuple[DomainView, Record] | Reply:
    """Return a domain that has a record, alive or not."""
    view = await _domain(service, call)
    if isinstance(view, Reply):
        return view
    if view.record is None:
        detail = f"cannot tell: {call.ref} has no UUID, so nothing is recorded of it"
        status, body = problems.document("unknown-domain", detail, {"ref": call.ref})
        return Reply(status, body, problems.MEDIA_TYPE)
    return view, view.record


async def _domain(service: Service, call: Call) -> DomainView | Reply:
    """Return the domain that is meant; to a device model only its own."""
    view = await look(service, Look(Subject.DOMAIN, call.ref), DomainView)
    if call.bond is None or isinstance(view, Reply) or view.domid is None:
        return view
    refusal = own_domain(call.bond, view.domid, view.uuid)
    return view if refusal is None else _refusal(Refused(refusal))


async def look(service: Service, wanted: Look, kind: type[T]) -> T | Reply:
    """Return what is looked at, or the problem that it is a refusal."""
    answer = await service.mailbox.ask(wanted)
    if isinstance(answer, Refused):
        return _refusal(answer)
    return cast(T, answer)


def _refusal(refused: Refused) -> Reply:
    return Reply(*problems.of_refusal(refused), media_type=problems.MEDIA_TYPE)


def _key(call: Call) -> Key:
    return call.path["owner"], call.path["name"]


def _json(body: BaseModel, *, revision: int | None = None) -> Reply:
    return Reply(200, body.__pydantic_serializer__.to_json(body), revision=revision)
