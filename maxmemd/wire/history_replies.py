"""What is answered about the past: who decided what and why, entries, pushes and events.

Times are RFC 3339 in UTC.
"""

from typing import Any

from pydantic import Field

from maxmemd.policy.kinds import EntryKind, PushKind
from maxmemd.policy.outlook import Outlook
from maxmemd.wire.replies import (
    MAX_MEM,
    OUTLOOK,
    TARGET_ABOVE,
    Actor,
    ComponentReply,
    Drift,
    Push,
    Reply,
    Unreadable,
)


class ExplainedComponent(Reply):
    """One component of the limit, and who asked for it."""

    owner: str
    name: str
    amount_kib: int
    revision: int
    at: str | None = Field(description="when this amount was asked for")
    by: Actor | None
    kind: str | None = Field(description="which wish set it")
    reason: str


class ExplainReply(Reply):
    """Why the limit is what it is."""

    uuid: str
    domid: int | None
    name: str | None
    revision: int
    components: list[ExplainedComponent]
    max_mem_kib: int | None = MAX_MEM
    limit_kib: int
    max_pages: int
    unlimited: bool
    recorded_static_max_kib: int | None
    static_max_kib: int | None
    target_kib: int | None
    drift: Drift | None = None
    push: Push | None
    tot_pages: int | None
    target_above_limit: bool = TARGET_ABOVE
    outlook: Outlook | None = OUTLOOK
    unreadable: list[Unreadable] = Field(default_factory=list)
    text: str = Field(description="the same in one paragraph")


class HistoryEntry(Reply):
    """One entry of the history: a decision, a refusal, drift, or the life of an instance."""

    seq: int
    at: str
    revision: int = Field(description="the record's revision after this")
    kind: EntryKind
    by: Actor
    wish: dict[str, Any]
    max_mem_kib: int | None = MAX_MEM
    limit_kib: int | None
    components: list[ComponentReply] | None
    static_max_kib: int | None
    target_kib: int | None = Field(
        default=None, description="the target that was decided, without video RAM"
    )
    hash: str


class HistoryReply(Reply):
    """A page, newest first. `next_before` asks for the page that follows, as ?before=SEQ."""

    entries: list[HistoryEntry]
    next_before: int | None


class Event(Reply):
    """An entry of the history or a push, as `data` of /v1/events has it."""

    id: str = Field(description="resumes after this event, as Last-Event-ID or ?since=")
    kind: EntryKind | PushKind
    at: str
    uuid: str
    domid: int | None
    revision: int = Field(description="the record's revision after this")
    by: Actor | None
    wish: dict[str, Any] | None
    code: str | None = Field(description="why it was refused")
    max_mem_kib: int | None = MAX_MEM
    limit_kib: int | None
    max_pages: int | None
    seen_pages: int | None
    errno: int | None


class PastPush(Reply):
    """One push and its read-back."""

    at: str
    domid: int
    incarnation: int
    revision: int
    max_pages: int
    seen_pages: int | None
    errno: int | None


class PushesReply(Reply):
    """A page, newest first. `next_before` asks for the page that follows, as ?before=."""

    pushes: list[PastPush]
    next_before: int | None
