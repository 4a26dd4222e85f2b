"""One event as it travels: its id, its kind, and its JSON, from a row of the ledger."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args

from pydantic_core import to_json

from maxmemd import wire
from maxmemd.api.problems import Rejected
from maxmemd.api.serialize import when
from maxmemd.ledger.follow import START, LedgerFollower, Occurrence, Position
from maxmemd.policy.codec import record_from_text

RETRY_MS = 1000
"""How long a client waits before it connects again."""

KINDS: tuple[str, ...] = get_args(wire.EventKind)
_KIND = {
    "refused": "refused",
    "drift": "drifted",
    "over-limit": "over_limit",
    "recovered": "recovered",
    "instance-began": "began",
    "instance-ended": "ended",
    "forgotten": "forgotten",
}
"""What a line of the journal is as an event; every other kind is a decision."""

ID_FORM = "^(0|[0-9]{1,15}-[0-9]{1,15}-[0-9a-f]{8})$"
_ID = re.compile("([0-9]{1,15})-([0-9]{1,15})-([0-9a-f]{8})")


@dataclass(frozen=True, slots=True)
class FormattedEvent:
    """One thing that happened, ready to be sent."""

    before: Position
    after: Position
    kind: str
    uuid: str
    block: bytes


def event_of(happening: Occurrence) -> FormattedEvent:
    """Return a line or a push as it travels."""
    line, push = happening.line, happening.push
    words = _of_line(line) if line is not None else _of_push(push)
    body = {"id": id_of(happening.after), **words}
    head = f"id: {body['id']}\nevent: {body['kind']}\ndata: ".encode()
    block = head + to_json(body) + b"\n\n"
    return FormattedEvent(happening.before, happening.after, body["kind"], body["uuid"], block)


def id_of(place: Position) -> str:
    """Return the id of the event that ends at a place."""
    return f"{place.seq}-{place.push}-{place.tail.hex()[:8]}"


def hello(place: Position) -> bytes:
    """Return what tells a client where it is, and is no event."""
    return b"retry: %d\nid: %s\n\n" % (RETRY_MS, id_of(place).encode())


def position_of(text: str, tail: LedgerFollower) -> Position:
    """Return the place after the event with this id; "0" is the beginning.

    Raises Rejected for an id that is none, that is beyond the end, or of another ledger, and
    LedgerError.
    """
    if text == "0":
        return START
    found = _ID.fullmatch(text)
    if found is None:
        detail = "cannot resume: an id has the form 12-7-89abcdef; 0 is the beginning"
        raise Rejected("event-id-invalid", detail)
    place = tail.place(int(found[1]), int(found[2]))
    again = "ask without an id for what happens from now on, or with 0 for everything"
    if place is None:
        detail = f"cannot resume after {text}: it is beyond the end of this ledger ({again})"
        raise Rejected("event-id-beyond", detail, id=text)
    if id_of(place) != text:
        detail = f"cannot resume after {text}: it is of another ledger, or of what was in this one"
        detail = f"{detail} before a backup was put back ({again})"
        raise Rejected("event-id-foreign", detail, id=text)
    return place


def _of_line(row: Any) -> dict[str, Any]:
    kind = _KIND.get(row.kind, "decided")
    wish: dict[str, Any] = json.loads(row.wish)
    limit = None
    if row.state is not None:
        limit = record_from_text(row.uuid, row.revision, row.state).limit
    wanted = wish.get("wanted_pages", wish.get("max_pages"))
    return {
        "kind": kind,
        "at": when(row.at_ns),
        "uuid": row.uuid,
        "domid": wish.get("domid"),
        "revision": row.revision,
        "what": wish.get("wish") if kind == "refused" else row.kind,
        "by": _actor(row.actor),
        "wish": wish,
        "code": wish.get("code"),
        "limit_kib": None if limit is None else limit.kib,
        "max_pages": wanted if limit is None else limit.max_pages,
        "seen_pages": wish.get("seen_pages"),
        "errno": None,
    }


@lru_cache(maxsize=1024)
def _actor(text: str) -> dict[str, Any]:
    """Return who asked, with every field; there are few, and each asks often."""
    return wire.Actor(**json.loads(text)).model_dump()


def _of_push(row: Any) -> dict[str, Any]:
    in_force = row.errno is None and row.seen_pages == row.max_pages
    return {
        "kind": "pushed" if in_force else "failed",
        "at": when(row.at_ns),
        "uuid": row.uuid,
        "domid": row.domid,
        "revision": row.revision,
        "what": "push",
        "by": None,
        "wish": None,
        "code": None,
        "limit_kib": None,
        "max_pages": row.max_pages,
        "seen_pages": row.seen_pages,
        "errno": row.errno,
    }
