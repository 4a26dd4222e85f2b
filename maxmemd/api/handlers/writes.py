"""Handlers of the routes that write: a Request in, a Response out.

Nothing is decided here. `dispatch.py` turns refusals and errors into problem documents.
"""

from __future__ import annotations

from maxmemd.api import serialize
from maxmemd.api.auth.peers import on_behalf_of
from maxmemd.api.drift import drift_reply
from maxmemd.api.handlers.service import Service, as_json, refusal
from maxmemd.api.problems import Rejected
from maxmemd.api.request import Request
from maxmemd.api.response import Response
from maxmemd.arbiter.messages import DecisionRequest, DriftRequest, Refused
from maxmemd.policy.components import Key
from maxmemd.policy.drift import DriftMode
from maxmemd.policy.reference import Domid, parse_reference
from maxmemd.policy.roles import Bond
from maxmemd.policy.wishes import (
    Build,
    Headroom,
    Import,
    Increase,
    RemoveComponent,
    Rollback,
    SetComponent,
    SetMaxMem,
    SetTarget,
    Wish,
)
from maxmemd.units import Memory
from maxmemd.wire import requests


async def set_limit(service: Service, call: Request) -> Response:
    """Xl mem-max."""
    body: requests.LimitRequest = call.body
    wish = SetMaxMem(Memory(kib=body.max_mem_kib), body.force, body.static_max)
    return await _decide(service, call, wish)


async def set_target(service: Service, call: Request) -> Response:
    """Xl mem-set."""
    body: requests.TargetRequest = call.body
    target = None if body.target_kib is None else Memory(kib=body.target_kib)
    return await _decide(service, call, SetTarget(target, body.by_kib, body.enforce))


async def set_component(service: Service, call: Request) -> Response:
    """Set one component."""
    wish = SetComponent(_key(call), Memory(kib=call.body.amount_kib))
    return await _decide(service, call, wish)


async def remove_component(service: Service, call: Request) -> Response:
    """Remove one component."""
    return await _decide(service, call, RemoveComponent(_key(call)))


async def increase(service: Service, call: Request) -> Response:
    """Add to one component."""
    return await _decide(service, call, Increase(_key(call), call.body.by_kib))


async def build(service: Service, call: Request) -> Response:
    """Announce that libxl is about to build."""
    body: requests.BuildRequest = call.body
    static_max = None if body.static_max_kib is None else Memory(kib=body.static_max_kib)
    wish = Build(Memory(kib=body.target_kib), body.life, static_max)
    return await _decide(service, call, wish)


async def headroom(service: Service, call: Request) -> Response:
    """Make room for pages that a device model is about to populate."""
    return await _decide(service, call, Headroom(call.body.pages))


async def relayed_headroom(service: Service, call: Request) -> Response:
    """Make room for pages that a device model in a stub domain is about to populate.

    A domid alone is not enough, as it may be another domain by now (A6). Nor is a UUID, which means
    the elder of two instances: in a local migration each has a stub domain of its own.
    """
    body: requests.RelayedHeadroomRequest = call.body
    served = parse_reference(call.ref)
    if not isinstance(served, Domid) or served.number is None:
        detail = "cannot use the path: a stub domain serves a domain by its domid"
        raise Rejected("path-invalid", detail, parameter="ref")
    peer, bond = on_behalf_of(call.peer, body.stub_domid), Bond(served.number, body.uuid)
    return await _decide(service, call._replace(peer=peer, bond=bond), Headroom(body.pages))


async def rollback(service: Service, call: Request) -> Response:
    """Restore an earlier revision."""
    return await _decide(service, call, Rollback(call.body.revision, call.body.force))


async def put_record(service: Service, call: Request) -> Response:
    """Import the record of a domain that migrates here."""
    body: requests.ImportRequest = call.body
    _check_is_of_path(call, body.uuid)
    amounts = {(part.owner, part.name): Memory(kib=part.amount_kib) for part in body.components}
    static_max = None if body.static_max_kib is None else Memory(kib=body.static_max_kib)
    target = None if body.target_kib is None else Memory(kib=body.target_kib)
    return await _decide(service, call, Import(amounts, static_max, target, body.force))


async def set_drift(service: Service, call: Request) -> Response:
    """Say what becomes of a maximum that another program writes, for a time."""
    body: requests.DriftRequest = call.body
    return await _drift(service, call, DriftMode(body.mode), body.for_s)


async def clear_drift(service: Service, call: Request) -> Response:
    """Let the configuration say it again."""
    return await _drift(service, call, None, None)


async def _drift(
    service: Service, call: Request, mode: DriftMode | None, for_s: int | None
) -> Response:
    reason = "" if call.body is None else call.body.reason
    ask = DriftRequest(
        call.ref, mode, for_s, call.peer.actor, reason, call.dry_run, call.if_match, call.key
    )
    answer = await service.mailbox.ask(ask)
    if isinstance(answer, Refused):
        return refusal(answer)
    revision = None if answer.record is None else answer.record.revision
    return as_json(drift_reply(answer), revision=revision)


async def _decide(service: Service, call: Request, wish: Wish) -> Response:
    """Ask the arbiter; 200 if the change is done, 202 if it is durable and not yet in force."""
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
    body = serialize.decision(answer)
    return Response(200 if answer.is_done else 202, body, revision=answer.record.revision)


def _check_is_of_path(call: Request, uuid: str | None) -> None:
    """Refuse a body that names another domain than the path. Raises Rejected."""
    if uuid is not None and uuid != call.ref.lower():
        why = f"this is the record of {uuid}, and the path names another domain"
        errors = [{"field": "uuid", "message": why}]
        raise Rejected("body-invalid", f"cannot use the body: uuid: {why}", errors=errors)


def _key(call: Request) -> Key:
    return call.path["owner"], call.path["name"]
