"""Every route on one screen: method, path, access, cost, body, reply, handler."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from maxmemd.api.auth.access import (
    Access,
    admin,
    anyone,
    local_admin,
    readers,
    reads_own,
    toolstack,
    writes_own,
)
from maxmemd.api.auth.cost import Cost, everything, explained, opened, paged, plain, walked
from maxmemd.api.handlers import reads, tokens, writes
from maxmemd.api.handlers.events import events
from maxmemd.api.handlers.service import Handler
from maxmemd.wire import daemon_replies, history_replies, replies, requests


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. A write takes dry_run, If-Match and Idempotency-Key."""

    method: str
    path: str
    access: Access
    cost: Cost
    takes: type[BaseModel] | None
    gives: type[BaseModel] | None
    handler: Handler
    summary: str
    query: frozenset[str] = frozenset()
    media_types: tuple[str, ...] = ("application/json",)

    @property
    def writes(self) -> bool:
        """Whether the route changes what is decided about a domain."""
        return "dry_run" in self.query

    @property
    def is_dear_read(self) -> bool:
        """Whether the route only reads, and for long enough to be ended when its client goes."""
        return self.method == "GET" and self.cost is not plain


_D = "/v1/domains/{ref}"
_C = _D + "/components/{owner}/{name}"
_DRY = frozenset({"dry_run"})
_PAGE = frozenset({"limit", "before"})
_EVENTS = frozenset({"since", "domain", "kind"})
_AMOUNT, _GRANT = requests.AmountRequest, replies.DecisionReply

# fmt: off
ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/host", readers, opened, None, daemon_replies.HostReply, reads.get_host, "The host's memory"),
    Route("GET", "/v1/domains", readers, everything, None, replies.DomainsReply, reads.get_domains, "All domains"),
    Route("GET", _D, reads_own, plain, None, replies.DomainReply, reads.get_domain, "One domain"),
    Route("PUT", _D + "/limit", toolstack, plain, requests.LimitRequest, _GRANT, writes.set_limit, "xl mem-max", _DRY),
    Route("PUT", _D + "/target", toolstack, plain, requests.TargetRequest, _GRANT, writes.set_target, "xl mem-set", _DRY),
    Route("PUT", _C, writes_own, plain, _AMOUNT, _GRANT, writes.set_component, "Set one owner's amount", _DRY),
    Route("DELETE", _C, writes_own, plain, None, _GRANT, writes.remove_component, "Drop one owner's amount", _DRY),
    Route("POST", _C + "/increase", writes_own, plain, requests.IncreaseRequest, _GRANT, writes.increase, "Add to an amount", _DRY),
    Route("POST", _D + "/builds", toolstack, plain, requests.BuildRequest, _GRANT, writes.build, "A build begins", _DRY),
    Route("POST", _D + "/headroom", writes_own, plain, requests.HeadroomRequest, _GRANT, writes.headroom, "Room for pages", _DRY),
    Route("POST", _D + "/relayed-headroom", local_admin, plain, requests.RelayedHeadroomRequest, _GRANT, writes.relayed_headroom, "Room for pages, asked by a stub domain", _DRY),
    Route("GET", _D + "/explain", reads_own, explained, None, history_replies.ExplainReply, reads.explain, "Why is the limit N"),
    Route("GET", _D + "/history", reads_own, paged, None, history_replies.HistoryReply, reads.history, "Every revision", _PAGE),
    Route("GET", _D + "/pushes", reads_own, paged, None, history_replies.PushesReply, reads.pushes, "Every push", _PAGE),
    Route("GET", _D + "/drift", reads_own, plain, None, replies.DriftReply, reads.get_drift, "What becomes of drift"),
    Route("PUT", _D + "/drift", toolstack, plain, requests.DriftRequest, replies.DriftReply, writes.set_drift, "Set that, for a time", _DRY),
    Route("DELETE", _D + "/drift", toolstack, plain, None, replies.DriftReply, writes.clear_drift, "Take it back", _DRY),
    Route("POST", _D + "/rollback", admin, walked, requests.RollbackRequest, _GRANT, writes.rollback, "Back to a revision", _DRY),
    Route("GET", _D + "/record", reads_own, plain, None, replies.RecordReply, reads.get_record, "Export a record"),
    Route("PUT", "/v1/records/{ref}", toolstack, plain, requests.ImportRequest, _GRANT, writes.put_record, "Import a record", _DRY),
    Route("GET", "/v1/events", readers, opened, None, None, events, "What happens, as it happens", _EVENTS, ("text/event-stream",)),
    Route("GET", "/v1/tokens", local_admin, plain, None, daemon_replies.TokensReply, tokens.list_tokens, "Tokens for clients over TCP"),
    Route("POST", "/v1/tokens", local_admin, opened, requests.TokenRequest, daemon_replies.TokenCreated, tokens.create_token, "Create a token"),
    Route("DELETE", "/v1/tokens/{name}", local_admin, opened, None, daemon_replies.TokenRevoked, tokens.revoke_token, "Revoke a token"),
    Route("GET", "/v1/health", anyone, plain, None, daemon_replies.Health, reads.health, "Liveness and readiness"),
    Route("GET", "/metrics", readers, everything, None, None, reads.get_metrics, "OpenMetrics", media_types=("application/openmetrics-text", "text/plain")),
)
# fmt: on

PATTERNS: Mapping[str, str] = {"ref": requests.REF, "owner": requests.NAME, "name": requests.NAME}
"""The grammar of decoded path parameters."""
