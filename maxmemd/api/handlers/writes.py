"""What each route does, in a few lines: a Call in, a Reply out.

Nothing is decided here. A refusal or an error becomes a problem in front.py.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

from pydantic import BaseModel

from maxmemd import wire
from maxmemd.api import problems, serialize
from maxmemd.api.auth.admission import Admission
from maxmemd.api.auth.peers import on_behalf_of
from maxmemd.api.auth.refusal_log import RefusalLog
from maxmemd.api.auth.token_store import TokenStore
from maxmemd.api.event_stream import EventStream
from maxmemd.api.health import DiskMonitor, health_parts
from maxmemd.api.problems import Rejected
from maxmemd.api.request import Request, Response, StreamingResponse
from maxmemd.arbiter.mailbox import Mailbox
from maxmemd.arbiter.messages import DecisionRequest, Granted, Query, Refused
from maxmemd.config.parsers import NONE
from maxmemd.config.settings import Config
from maxmemd.ledger.follow import LedgerFollower
from maxmemd.ledger.reader import LedgerReader
from maxmemd.policy.components import Key
from maxmemd.policy.orders import IN_FORCE
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
from maxmemd.units import Memory


@dataclass(slots=True)
class Service:
    """What handlers may use. `integrity` is what is known of the ledger's whole chain."""

    mailbox: Mailbox
    reader: LedgerReader
    tail: LedgerFollower
    feed: EventStream
    config: Config
    simulated: bool
    disk: DiskMonitor
    tokens: TokenStore
    integrity: str = "being checked"
    refusals: RefusalLog = field(default_factory=lambda: RefusalLog(time.monotonic))
    gate: Admission = field(init=False)

    def __post_init__(self) -> None:
        config = self.config
        self.gate = Admission(
            config.roles,
            config.rates,
            config.connections,
            tokens=self.tokens,
            hosts=config.hosts,
            apart=config.device_model_socket != NONE,
        )

    def parts(self) -> Mapping[str, str]:
        """Return every part of the daemon and its state."""
        feed, disk = self.feed.trouble, self.disk.state
        return health_parts(self.mailbox, self.integrity, feed, disk)

    def each_second(self) -> None:
        """Do what is to be done about once a second."""
        self.mailbox.give_up()
        self.disk.each_second()


T = TypeVar("T")
Handler = Callable[[Service, Request], Awaitable[Response | StreamingResponse]]


async def set_limit(service: Service, call: Request) -> Response:
    """Xl mem-max."""
    body: wire.LimitRequest = call.body
    wish = SetLimit(Memory(kib=body.limit_kib), body.force, body.static_max)
    return await _wished(service, call, wish)


async def set_target(service: Service, call: Request) -> Response:
    """Xl mem-set."""
    body: wire.TargetRequest = call.body
    target = None if body.target_kib is None else Memory(kib=body.target_kib)
    return await _wished(service, call, SetTarget(target, body.by_kib, body.enforce))


async def set_component(service: Service, call: Request) -> Response:
    """Set one component."""
    wish = SetComponent(_key(call), Memory(kib=call.body.amount_kib))
    return await _wished(service, call, wish)


async def remove_component(service: Service, call: Request) -> Response:
    """Remove one component."""
    return await _wished(service, call, RemoveComponent(_key(call)))


async def increase(service: Service, call: Request) -> Response:
    """Add to one component."""
    return await _wished(service, call, Increase(_key(call), call.body.by_kib))


async def build(service: Service, call: Request) -> Response:
    """Take note that libxl is about to build."""
    body: wire.BuildRequest = call.body
    static_max = None if body.static_max_kib is None else Memory(kib=body.static_max_kib)
    wish = Build(Memory(kib=body.target_kib), body.life, static_max)
    return await _wished(service, call, wish)


async def headroom(service: Service, call: Request) -> Response:
    """Make room for what a device model is about to populate."""
    return await _wished(service, call, Headroom(call.body.pages))


async def relayed_headroom(service: Service, call: Request) -> Response:
    """Make room for what a device model in a stub domain is about to populate.

    A domid alone is not enough: it may be another domain by now (A6). Nor is a UUID: it means the
    elder of two instances, and of a local migration each has a stub domain of its own.
    """
    body: wire.RelayedHeadroomRequest = call.body
    if not (call.ref.isascii() and call.ref.isdigit() and len(call.ref) < 10):
        detail = "cannot use the path: a stub domain serves a domain by its domid"
        raise Rejected("path-invalid", detail, parameter="ref")
    peer, bond = on_behalf_of(call.peer, body.stub_domid), Bond(int(call.ref), body.uuid)
    return await _wished(service, call._replace(peer=peer, bond=bond), Headroom(body.pages))


async def rollback(service: Service, call: Request) -> Response:
    """Go back to an earlier revision."""
    return await _wished(service, call, Rollback(call.body.revision, call.body.force))


async def put_record(service: Service, call: Request) -> Response:
    """Take a record that comes with its domain."""
    body: wire.RecordBody = call.body
    amounts = {(part.owner, part.name): Memory(kib=part.amount_kib) for part in body.components}
    static_max = None if body.static_max_kib is None else Memory(kib=body.static_max_kib)
    return await _wished(service, call, Import(amounts, static_max))


async def _wished(service: Service, call: Request, wish: Wish) -> Response:
    """Put a wish to the arbiter; 200 when it is in force, 202 when it is durable but not yet."""
    ask = DecisionRequest(
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
        return refusal(answer)
    granted = cast(Granted, answer)
    push = granted.push
    in_force = push is None or push.state in IN_FORCE
    body = serialize.decision(granted)
    return Response(200 if in_force else 202, body, revision=granted.record.revision)


async def look(service: Service, wanted: Query, kind: type[T]) -> T | Response:
    """Return what is looked at, or the problem that it is a refusal."""
    answer = await service.mailbox.ask(wanted)
    if isinstance(answer, Refused):
        return refusal(answer)
    return cast(T, answer)


def refusal(refused: Refused) -> Response:
    """Return the problem that a refusal is."""
    status, body = problems.of_refusal(refused)
    return Response(status, body, problems.MEDIA_TYPE, refusal=refused.refusal)


def _key(call: Request) -> Key:
    return call.path["owner"], call.path["name"]


def as_json(body: BaseModel, *, revision: int | None = None) -> Response:
    """Return a reply with this body, and the revision that it is about."""
    return Response(200, body.__pydantic_serializer__.to_json(body), revision=revision)
