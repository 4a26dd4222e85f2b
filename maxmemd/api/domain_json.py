"""A domain as JSON, made without the reply's model: a list of thousands has to be quick."""

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from maxmemd.api.drift import drift_fields
from maxmemd.api.reading.strides import Reading, joined
from maxmemd.arbiter.messages import DomainView, PushStatus
from maxmemd.policy.components import Record
from maxmemd.policy.facts import XenFacts
from maxmemd.units import UNLIMITED_PAGES, kib_or_none
from maxmemd.wire.replies import XenReply

_XEN = tuple((name, XenFacts._fields.index(name)) for name in XenReply.model_fields)


def domain(view: DomainView) -> bytes:
    """Return a DomainReply: a domain's current state."""
    store = view.store
    return to_json(
        {
            "uuid": view.uuid,
            "domid": view.domid,
            "name": view.name,
            **(_UNMANAGED if view.record is None else _recorded(view.record)),
            "static_max_kib": kib_or_none(store.static_max),
            "target_kib": kib_or_none(store.target),
            "videoram_kib": store.videoram.kib,
            "building": view.building,
            "drift": drift_fields(view),
            "push": None if view.push is None else push_fields(view.push),
            "xen": None if view.xen is None else {name: view.xen[at] for name, at in _XEN},
            "target_above_limit": view.target_above is not None,
            "outlook": view.outlook,
            "unreadable": [{"node": each.node, "value": each.value} for each in store.unreadable],
        }
    )


def domains(views: Sequence[DomainView], reading: Reading) -> bytes:
    """Return a DomainsReply."""
    return joined(b'{"domains":[', reading.each(views, domain), b"]}")


_UNMANAGED: dict[str, Any] = {
    "managed": False,
    "revision": None,
    "max_mem_kib": None,
    "limit_kib": None,
    "max_pages": None,
    "unlimited": False,
    "components": [],
    "recorded_static_max_kib": None,
    "recorded_target_kib": None,
}


def _recorded(record: Record) -> dict[str, Any]:
    limit = record.limit
    max_pages = limit.max_pages
    return {
        "managed": True,
        "revision": record.revision,
        "max_mem_kib": record.max_mem_kib,
        "limit_kib": limit.kib,
        "max_pages": max_pages,
        "unlimited": max_pages == UNLIMITED_PAGES,
        "components": [
            {
                "owner": key[0],
                "name": key[1],
                "amount_kib": component.amount.kib,
                "revision": component.revision,
                "observed": key in record.observed,
            }
            for key, component in sorted(record.components.items())
        ],
        "recorded_static_max_kib": kib_or_none(record.static_max),
        "recorded_target_kib": kib_or_none(record.target),
    }


def push_fields(status: PushStatus) -> dict[str, Any]:
    """Return the state of a push, and of its effects."""
    effects = [
        {
            "effect": each.name,
            "state": each.state,
            "amount_kib": each.amount.kib,
            "errno": each.errno,
            "error": each.error,
        }
        for each in status.effects
    ]
    return {
        "state": status.state,
        "max_pages": status.max_pages,
        "seen_pages": status.seen_pages,
        "errno": status.errno,
        "error": status.error,
        "effects": effects,
    }
