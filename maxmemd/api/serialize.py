"""From the arbiter's answers to what travels."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from maxmemd import wire
from maxmemd.arbiter.messages import DomainView, Granted, PushStatus
from maxmemd.policy.codec import record_from_text
from maxmemd.policy.components import Record
from maxmemd.policy.states import IN_FORCE, PushState
from maxmemd.units import UNLIMITED_PAGES, Memory


def decision(granted: Granted) -> bytes:
    """Return the reply to a granted wish: a wire.DecisionReply, but not built as one (hot path)."""
    record, push = granted.record, granted.push
    limit = record.limit
    max_pages = limit.max_pages
    return to_json(
        {
            "uuid": record.uuid,
            "domid": granted.domid,
            "name": granted.name,
            "revision": record.revision,
            "limit_kib": limit.kib,
            "max_pages": max_pages,
            "unlimited": max_pages == UNLIMITED_PAGES,
            "target_kib": granted.target_kib,
            "dry_run": granted.dry_run,
            "replayed": granted.replayed,
            "push": None if push is None else push._asdict(),
        }
    )


def push(status: PushStatus | None) -> wire.Push | None:
    """Return how far a limit is in force."""
    if status is None:
        return None
    return wire.Push(
        state=status.state,
        max_pages=status.max_pages,
        seen_pages=status.seen_pages,
        errno=status.errno,
        error=status.error,
    )


def components(record: Record) -> list[wire.ComponentReply]:
    """Return a record's components by owner and name."""
    return [
        wire.ComponentReply(
            owner=owner, name=name, amount_kib=part.amount.kib, revision=part.revision
        )
        for (owner, name), part in sorted(record.parts.items())
    ]


def domain(view: DomainView) -> wire.DomainReply:
    """Return a domain as it is."""
    record = view.record
    limit = None if record is None else record.limit
    return wire.DomainReply.model_construct(
        uuid=view.uuid,
        domid=view.domid,
        name=view.name,
        managed=record is not None,
        revision=None if record is None else record.revision,
        limit_kib=None if limit is None else limit.kib,
        max_pages=None if limit is None else limit.max_pages,
        unlimited=limit is not None and limit.max_pages == UNLIMITED_PAGES,
        components=[] if record is None else components(record),
        recorded_static_max_kib=None if record is None else _kib(record.static_max),
        static_max_kib=_kib(view.store.static_max),
        target_kib=_kib(view.store.target),
        videoram_kib=view.store.videoram.kib,
        building=view.building,
        push=push(view.push),
        xen=_xen(view),
    )


def exported(record: Record) -> wire.RecordReply:
    """Return a record as it travels with its domain."""
    parts = [
        wire.ComponentBody(owner=owner, name=name, amount_kib=part.amount.kib)
        for (owner, name), part in sorted(record.parts.items())
    ]
    return wire.RecordReply(
        components=parts,
        static_max_kib=_kib(record.static_max),
        uuid=record.uuid,
        revision=record.revision,
    )


def explained(view: DomainView, record: Record, made: Mapping[int, Any]) -> wire.ExplainReply:
    """Return why the limit is what it is; `made` maps revisions to their journal rows."""
    lines = [_line(part, made.get(part.revision)) for part in components(record)]
    limit = record.limit
    return wire.ExplainReply(
        uuid=view.uuid,
        domid=view.domid,
        name=view.name,
        revision=record.revision,
        lines=lines,
        limit_kib=limit.kib,
        max_pages=limit.max_pages,
        unlimited=limit.max_pages == UNLIMITED_PAGES,
        recorded_static_max_kib=_kib(record.static_max),
        static_max_kib=_kib(view.store.static_max),
        target_kib=_kib(view.store.target),
        push=push(view.push),
        tot_pages=None if view.xen is None else view.xen.tot_pages,
        text=_sentence(view, lines, limit),
    )


def history(rows: Sequence[Any], limit: int) -> wire.HistoryReply:
    """Return journal rows; `limit` is how many were asked for."""
    more = rows[-1].seq if len(rows) == limit and rows[-1].seq > 1 else None
    return wire.HistoryReply(entries=[_entry(row) for row in rows], next_before=more)


def pushes(rows: Sequence[Any]) -> wire.PushesReply:
    """Return rows of the push table."""
    return wire.PushesReply(
        pushes=[
            wire.PushLine(
                at=when(row.at_ns),
                domid=row.domid,
                incarnation=row.incarnation,
                revision=row.revision,
                max_pages=row.max_pages,
                seen_pages=row.seen_pages,
                errno=row.errno,
            )
            for row in rows
        ]
    )


def _line(part: wire.ComponentReply, row: Any) -> wire.ExplainLine:
    wish = {} if row is None else json.loads(row.wish)
    return wire.ExplainLine(
        owner=part.owner,
        name=part.name,
        amount_kib=part.amount_kib,
        revision=part.revision,
        at=None if row is None else when(row.at_ns),
        by=None if row is None else wire.Actor(**json.loads(row.actor)),
        kind=None if row is None else row.kind,
        reason=str(wish.get("reason", "")),
    )


def _sentence(view: DomainView, lines: Sequence[wire.ExplainLine], limit: Memory) -> str:
    terms = " + ".join(f"{line.owner}/{line.name} {line.amount_kib}" for line in lines)
    pages = "unlimited" if limit.max_pages == UNLIMITED_PAGES else f"{limit.max_pages} pages"
    said = f"The limit of {view.name or view.uuid} is {terms} = {limit.kib} KiB, {pages}."
    if view.push is None:
        return f"{said} The domain does not live here now."
    if view.push.state in IN_FORCE:
        tail = (
            "" if view.push.state is PushState.APPLIED else ", which is below what the guest holds"
        )
        return f"{said} Xen holds it{tail}."
    return f"{said} It is {view.push.state}: {view.push.error or 'not yet pushed'}."


def _entry(row: Any) -> wire.HistoryEntry:
    record = None
    if row.state is not None:
        record = record_from_text(row.uuid, row.revision, row.state)
    return wire.HistoryEntry(
        seq=row.seq,
        at=when(row.at_ns),
        revision=row.revision,
        kind=row.kind,
        by=wire.Actor(**json.loads(row.actor)),
        wish=json.loads(row.wish),
        limit_kib=None if record is None else record.limit.kib,
        components=None if record is None else components(record),
        static_max_kib=None if record is None else _kib(record.static_max),
        hash=row.hash.hex(),
    )


def _xen(view: DomainView) -> wire.XenReply | None:
    xen = view.xen
    if xen is None:
        return None
    names = wire.XenReply.model_fields
    return wire.XenReply.model_construct(**{name: getattr(xen, name) for name in names})


def _kib(amount: Memory | None) -> int | None:
    return None if amount is None else amount.kib


def when(at_ns: int) -> str:
    """Return a time of the ledger as it travels: RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="milliseconds")
