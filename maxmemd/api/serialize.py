"""Turn the arbiter's answers into replies."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from maxmemd.api.domain_json import push_fields
from maxmemd.api.drift import drift, sentence_on_drift
from maxmemd.api.reading.strides import joined
from maxmemd.api.times import when
from maxmemd.arbiter.messages import Change, DomainView, Granted, PushStatus
from maxmemd.ledger.reader import MadeBy, Page
from maxmemd.policy.codec import record_from_text
from maxmemd.policy.components import Record
from maxmemd.policy.outlook import SENTENCES
from maxmemd.policy.states import IN_FORCE, EffectState, PushState
from maxmemd.units import UNLIMITED_PAGES, Memory, kib_or_none
from maxmemd.wire import history_replies, replies, requests


def decision(granted: Granted) -> bytes:
    """Return a DecisionReply as JSON, without building the model (hot path)."""
    record, push = granted.record, granted.push
    limit = record.limit
    max_pages = limit.max_pages
    return to_json(
        {
            "uuid": record.uuid,
            "domid": granted.domid,
            "name": granted.name,
            "revision": record.revision,
            "max_mem_kib": record.max_mem_kib,
            "limit_kib": limit.kib,
            "max_pages": max_pages,
            "unlimited": max_pages == UNLIMITED_PAGES,
            "target_kib": granted.target_kib,
            "dry_run": granted.dry_run,
            "replayed": granted.replayed,
            "for_next_start": granted.domid is None and not granted.replayed,
            "push": None if push is None else push_fields(push),
            "change": None if granted.change is None else _change(granted.change),
        }
    )


def _change(change: Change) -> dict[str, dict[str, int | None]]:
    return {"before": change.before._asdict(), "after": change.after._asdict()}


def push(status: PushStatus | None) -> replies.Push | None:
    """Return the state of a push."""
    return None if status is None else replies.Push.model_validate(push_fields(status))


def components(record: Record) -> list[replies.ComponentReply]:
    """Return a record's components by owner and name."""
    return [
        replies.ComponentReply(
            owner=owner,
            name=name,
            amount_kib=component.amount.kib,
            revision=component.revision,
            observed=(owner, name) in record.observed,
        )
        for (owner, name), component in sorted(record.components.items())
    ]


def exported_record(record: Record) -> replies.RecordReply:
    """Return a record as it is exported with its domain."""
    amounts = [
        requests.ComponentBody(owner=owner, name=name, amount_kib=component.amount.kib)
        for (owner, name), component in sorted(record.components.items())
    ]
    return replies.RecordReply(
        components=amounts,
        static_max_kib=kib_or_none(record.static_max),
        target_kib=kib_or_none(record.target),
        uuid=record.uuid,
        revision=record.revision,
    )


def explanation(
    view: DomainView, record: Record, made_by: Mapping[int, MadeBy]
) -> history_replies.ExplainReply:
    """Return why the limit is what it is; `made_by` says what made each revision."""
    terms = [
        _explained_component(component, made_by.get(component.revision))
        for component in components(record)
    ]
    limit = record.limit
    return history_replies.ExplainReply(
        uuid=view.uuid,
        domid=view.domid,
        name=view.name,
        revision=record.revision,
        components=terms,
        max_mem_kib=record.max_mem_kib,
        limit_kib=limit.kib,
        max_pages=limit.max_pages,
        unlimited=limit.max_pages == UNLIMITED_PAGES,
        recorded_static_max_kib=kib_or_none(record.static_max),
        static_max_kib=kib_or_none(view.store.static_max),
        target_kib=kib_or_none(view.store.target),
        drift=drift(view),
        push=push(view.push),
        tot_pages=None if view.xen is None else view.xen.tot_pages,
        target_above_limit=view.target_above is not None,
        outlook=view.outlook,
        unreadable=_unreadable(view),
        text=_text(view, terms, limit),
    )


def page(kind: str, found: Page) -> bytes:
    """Return a page of encoded entries or pushes as a reply; `kind` names the list."""
    tail = b'],"next_before":%b}' % to_json(found.next_before)
    return joined(b'{"%b":[' % kind.encode(), found.items, tail)


def past_push(row: Any) -> bytes:
    """Return a push that was, as JSON."""
    return to_json(
        {
            "at": when(row.at_ns),
            "domid": row.domid,
            "incarnation": row.incarnation,
            "revision": row.revision,
            "max_pages": row.max_pages,
            "seen_pages": row.seen_pages,
            "errno": row.errno,
        }
    )


def entry(row: Any) -> bytes:
    """Return an entry of the history as JSON."""
    record = None
    if row.state is not None:
        record = record_from_text(row.uuid, row.revision, row.state)
    reply = history_replies.HistoryEntry(
        seq=row.seq,
        at=when(row.at_ns),
        revision=row.revision,
        kind=row.kind,
        by=replies.Actor(**json.loads(row.actor)),
        wish=json.loads(row.wish),
        max_mem_kib=None if record is None else record.max_mem_kib,
        limit_kib=None if record is None else record.limit.kib,
        components=None if record is None else components(record),
        static_max_kib=None if record is None else kib_or_none(record.static_max),
        target_kib=None if record is None else kib_or_none(record.target),
        hash=row.hash.hex(),
    )
    return reply.__pydantic_serializer__.to_json(reply)


def _explained_component(
    component: replies.ComponentReply, made: MadeBy | None
) -> history_replies.ExplainedComponent:
    return history_replies.ExplainedComponent(
        owner=component.owner,
        name=component.name,
        amount_kib=component.amount_kib,
        revision=component.revision,
        at=None if made is None else when(made.at_ns),
        by=None if made is None else replies.Actor(**json.loads(made.actor)),
        kind=None if made is None else made.kind,
        reason="" if made is None else made.reason,
    )


def _text(
    view: DomainView, terms: Sequence[history_replies.ExplainedComponent], limit: Memory
) -> str:
    """Return what is so, and of what will be only what the facts hold."""
    total = " + ".join(f"{term.owner}/{term.name} {term.amount_kib}" for term in terms)
    pages = "unlimited" if limit.max_pages == UNLIMITED_PAGES else f"{limit.max_pages} pages"
    said = [f"The limit of {view.name or view.uuid} is {total} = {limit.kib} KiB, {pages}."]
    if view.push is None and view.domid is not None:
        where = f"It is for the next start. Domain {view.domid} is dying."
        return " ".join([*said, where])
    if view.push is None:
        where = "It is for the next start. The domain is not on this host now."
        return " ".join([*said, where])
    if view.push.state in IN_FORCE:
        over = view.push.state is PushState.OVER_LIMIT
        said.append(f"Xen holds it{', which is below what the guest holds' if over else ''}.")
    else:
        said.append(f"It is {view.push.state}: {view.push.error or 'not yet pushed'}.")
    if view.outlook is not None:
        said.append(SENTENCES[view.outlook])
    if view.target_above is not None:
        above = str(view.target_above)
        said.append(f"{above[0].upper()}{above[1:]}: the guest cannot come to it.")
    said += [
        f"{each.name} is {each.state}: {each.error or 'still to be written'}."
        for each in view.push.effects
        if each.state is not EffectState.WRITTEN
    ]
    said += [f"{node}." for node in view.store.unreadable]
    return " ".join(filter(None, (*said, sentence_on_drift(view))))


def _unreadable(view: DomainView) -> list[replies.Unreadable]:
    return [replies.Unreadable(node=one.node, value=one.value) for one in view.store.unreadable]
