"""Events as the daemon makes them, and as they travel."""

import json
from typing import Any

from maxmemd.wire import history_replies
from tests.support.bodies import UUID

ROOT = {"name": "root", "uid": 0, "gid": 0, "pid": 42}
DAEMON = {"name": "maxmemd", "uid": None, "gid": None, "pid": None}
AT = "2026-11-22T21:06:47.123+00:00"


def event(kind: Any, **more: Any) -> dict[str, Any]:
    """Return an event as the daemon makes it."""
    given = {
        "id": "12-7-89abcdef", "kind": kind, "at": AT, "uuid": UUID, "domid": 3, "revision": 8,
        "by": None, "wish": {}, "code": None, "max_mem_kib": None, "limit_kib": None,
        "max_pages": None, "seen_pages": None, "errno": None, **more,
    }  # fmt: skip
    return history_replies.Event.model_validate(given).model_dump(mode="json")


def block(words: dict[str, Any]) -> bytes:
    """Return an event as it travels."""
    head = f"id: {words['id']}\nevent: {words['kind']}\n"
    return f"{head}data: {json.dumps(words)}\n\n".encode()


DECIDED = event(
    "mem-max", by=ROOT, wish={"max_mem_kib": 524288, "reason": "load test"},
    max_mem_kib=524288, limit_kib=525312, max_pages=131328,
)  # fmt: skip
