"""Format a row of the ledger as a Server-Sent Event: id, kind and JSON."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic_core import to_json

from maxmemd.api.problems import Rejected
from maxmemd.api.times import when
from maxmemd.errors import EventsPruned
from maxmemd.ledger.follow import START, LedgerFollower, Occurrence, Position
from maxmemd.policy.codec import record_from_text
from maxmemd.policy.kinds import DECISION, EntryKind, PushKind
from maxmemd.wire import replies

RETRY_MS = 1000
"""How long a client waits before it reconnects."""

KINDS: tuple[str, ...] = (*EntryKind, *PushKind)
_DECISIONS = frozenset(kind for kind in EntryKind if kind.is_decision)

ID_FORM = "^(0|[0-9]{1,15}-[0-9]{1,15}-[0-9a-f]{8})$"
_ID = re.compile("([0-9]{1,15})-([0-9]{1,15})-([0-9a-f]{8})")


@dataclass(frozen=True, slots=True)
class FormattedEvent:
    """One event, ready to be sent."""

    before: Position
    after: Position
    kind: str
    uuid: str
    block: bytes


def kinds_of(query: str) -> frozenset[str]:
    """Return the kinds of a filter; `decision` stands for all that change a record.

    Raises Rejected for an unknown kind.
    """
    wanted = frozenset(query.split(","))
    if DECISION in wanted:
        wanted = wanted - {DECISION} | _DECISIONS
    if not wanted <= frozenset(KINDS):
        detail = f"cannot read the query: kind is one or more of {','.join((DECISION, *KINDS))}"
        raise Rejected("query-invalid", detail, parameter="kind")
    return wanted


def event_of(happening: Occurrence) -> FormattedEvent:
    """Return an entry or a push as an event."""
    entry, push = happening.entry, happening.push
    words = _of_entry(entry) if entry is not None else _of_push(push)
    body = {"id": id_of(happening.after), **words}
    head = f"id: {body['id']}\nevent: {body['kind']}\ndata: ".encode()
    block = head + to_json(body) + b"\n\n"
    return FormattedEvent(happening.before, happening.after, body["kind"], body["uuid"], block)


def id_of(place: Position) -> str:
    """Return the id of the event that ends at a position."""
    return f"{place.seq}-{place.push}-{place.entry_hash.hex()[:8]}"


def hello(place: Position) -> bytes:
    """Return the start of a stream: the client's position, without an event."""
    return b"retry: %d\nid: %s\n\n" % (RETRY_MS, id_of(place).encode())


def position_of(text: str, follower: LedgerFollower) -> Position:
    """Return the position after the event with this id; "0" is the beginning.

    Raises Rejected for an id that is malformed, beyond the end, or of another ledger; LedgerError.
    """
    if text == "0":
        return START
    found = _ID.fullmatch(text)
    if found is None:
        detail = "cannot resume: an id has the form 12-7-89abcdef; 0 is the beginning"
        raise Rejected("event-id-invalid", detail)
    again = "ask without an id for new events only, or with 0 for all"
    try:
        place = follower.place(int(found[1]), int(found[2]))
    except EventsPruned as error:
        raise Rejected(error.code, f"{error} ({again} that are)", id=text) from None
    if place is None:
        detail = f"cannot resume after {text}: it is beyond the end of this ledger ({again})"
        raise Rejected("event-id-beyond", detail, id=text)
    if id_of(place) != text:
        detail = f"cannot resume after {text}: it is of another ledger, or of this one"
        detail = f"{detail} before a backup was restored ({again})"
        raise Rejected("event-id-foreign", detail, id=text)
    return place


def _of_entry(row: Any) -> dict[str, Any]:
    wish: dict[str, Any] = json.loads(row.wish)
    record = None
    if row.state is not None:
        record = record_from_text(row.uuid, row.revision, row.state)
    wanted = wish.get("wanted_pages", wish.get("max_pages"))
    return {
        "kind": row.kind,
        "at": when(row.at_ns),
        "uuid": row.uuid,
        "domid": wish.get("domid"),
        "revision": row.revision,
        "by": _actor(row.actor),
        "wish": wish,
        "code": wish.get("code"),
        "max_mem_kib": None if record is None else record.max_mem_kib,
        "limit_kib": None if record is None else record.limit_kib,
        "max_pages": wanted if record is None else record.max_pages,
        "seen_pages": wish.get("seen_pages"),
        "errno": None,
    }


@lru_cache(maxsize=1024)
def _actor(text: str) -> dict[str, Any]:
    """Return an actor with every field; cached, because there are few actors."""
    return replies.Actor(**json.loads(text)).model_dump()


def _of_push(row: Any) -> dict[str, Any]:
    return {
        "kind": _push_kind(row),
        "at": when(row.at_ns),
        "uuid": row.uuid,
        "domid": row.domid,
        "revision": row.revision,
        "by": None,
        "wish": None,
        "code": None,
        "max_mem_kib": None,
        "limit_kib": None,
        "max_pages": row.max_pages,
        "seen_pages": row.seen_pages,
        "errno": row.errno,
    }


def _push_kind(row: Any) -> PushKind:
    """Return a push's result; without a read-back it has failed."""
    if row.errno is not None or row.seen_pages is None:
        return PushKind.FAILED
    return PushKind.APPLIED if row.seen_pages == row.max_pages else PushKind.MISMATCHED
