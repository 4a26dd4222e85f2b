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
from maxmemd.api import problems, replies
from maxmemd.api.call import Call, Reply, Stream
from maxmemd.api.feed import Feed
from maxmemd.api.gate import Gate
from maxmemd.api.peers import relayed
from maxmemd.api.problems import Rejected
from maxmemd.api.readiness import Disk, parts_of
from maxmemd.api.refusals import Refusals
from maxmemd.asks import Ask, Granted, Look, Refused
from maxmemd.config import Config
from maxmemd.keys import NONE
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.tail import LedgerTail
from maxmemd.mailbox import Mailbox
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
    refusals: Refusals = field(default_factory=lambda: Refusals(time.monotonic))
    gate: Gate = field(init=False)

    def __post_init__(self) -> None:
        config = self.config
        self.gate = Gate(
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
        return refusal(answer)
    granted = cast(Granted, answer)
    push = granted.push
    in_force = push is None or push.state in IN_FORCE
    body = replies.decision(granted)
    return Reply(200 if in_force else 202, body, revision=granted.record.revision)


async def look(service: Service, wanted: Look, kind: type[T]) -> T | Reply:
    """Return what is looked at, or the problem that it is a refusal."""
    answer = await service.mailbox.ask(wanted)
    if isinstance(answer, Refused):
        return refusal(answer)
    return cast(T, answer)


def refusal(refused: Refused) -> Reply:
    """Return the problem that a refusal is."""
    status, body = problems.of_refusal(refused)
    return Reply(status, body, problems.MEDIA_TYPE, refusal=refused.refusal)


def _key(call: Call) -> Key:
    return call.path["owner"], call.path["name"]


def as_json(body: BaseModel, *, revision: int | None = None) -> Reply:
    """Return a reply with this body, and the revision that it is about."""
    return Reply(200, body.__pydantic_serializer__.to_json(body), revision=revision)
