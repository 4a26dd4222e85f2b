"""Handlers that list, create and revoke bearer tokens, over the Unix socket only."""

import asyncio
import json
import logging
import time
from functools import partial

from maxmemd.api.auth.token_store import Token
from maxmemd.api.handlers.service import Service
from maxmemd.api.problems import Rejected
from maxmemd.api.request import Request
from maxmemd.api.response import Response
from maxmemd.api.times import when
from maxmemd.wire import daemon_replies, requests

LOG = logging.getLogger("maxmemd.api")
DAY_NS = 86_400 * 10**9


async def list_tokens(service: Service, call: Request) -> Response:
    """List the tokens that were not revoked, without their secrets, which are not stored."""
    tokens = [_to_row(token) for token in service.tokens.all()]
    return Response(200, daemon_replies.TokensReply(tokens=tokens).model_dump_json().encode())


async def create_token(service: Service, call: Request) -> Response:
    """Create a token, and return its secret, which is shown only once."""
    body: requests.TokenRequest = call.body
    now_ns = time.time_ns()
    expires_ns = None if body.days is None else now_ns + body.days * DAY_NS
    create = partial(service.tokens.create, expires_ns=expires_ns)
    made = await asyncio.to_thread(create, body.name, body.role, call.peer.actor, now_ns)
    if made is None:
        detail = f"cannot create the token {body.name}: the name is taken (revoke it first)"
        raise Rejected("token-exists", detail, name=body.name)
    fields = {"token": body.name, "role": body.role, "by": call.peer.actor}
    LOG.warning("token %s, role %s, created by %s", *fields.values(), extra={"fields": fields})
    expires = None if expires_ns is None else when(expires_ns)
    reply = daemon_replies.TokenCreated(name=body.name, role=body.role, token=made, expires=expires)
    return Response(200, reply.model_dump_json().encode())


async def revoke_token(service: Service, call: Request) -> Response:
    """Revoke a token, on open connections as well; its event streams end."""
    name = call.path["name"]
    if not await asyncio.to_thread(service.tokens.revoke, name):
        detail = f"cannot revoke the token {name}: no token has that name"
        raise Rejected("unknown-token", detail, name=name)
    service.event_stream.notify()
    fields = {"token": name, "by": call.peer.actor}
    LOG.warning("token %s revoked by %s", name, call.peer.actor, extra={"fields": fields})
    return Response(200, daemon_replies.TokenRevoked(name=name).model_dump_json().encode())


def _to_row(token: Token) -> daemon_replies.TokenRow:
    return daemon_replies.TokenRow.model_validate(
        {
            "name": token.name,
            "role": token.role,
            "created": when(token.created_ns),
            "expires": None if token.expires_ns is None else when(token.expires_ns),
            "by": json.loads(token.actor),
        }
    )
