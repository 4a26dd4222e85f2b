"""The requests of the API: each function makes a Call, which a client sends.

A `ref` is a domid, a UUID or a name. Amounts are KiB, as everywhere on the wire.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from maxmemd.wire import replies, requests

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and the model of its reply."""

    method: str
    path: str
    gives: type[T]
    body: BaseModel | None = None
    query: dict[str, int] = field(default_factory=dict)


def host() -> Call[replies.HostReply]:
    """Ask for the host's memory."""
    return Call("GET", "/v1/host", replies.HostReply)


def domains() -> Call[replies.DomainsReply]:
    """Ask for all domains."""
    return Call("GET", "/v1/domains", replies.DomainsReply)


def domain(ref: str) -> Call[replies.DomainReply]:
    """Ask for one domain."""
    return Call("GET", _of(ref), replies.DomainReply)


def set_limit(ref: str, body: requests.LimitRequest) -> Call[replies.DecisionReply]:
    """Set the most that the guest may use: xl mem-max."""
    return Call("PUT", _of(ref, "limit"), replies.DecisionReply, body)


def set_target(ref: str, body: requests.TargetRequest) -> Call[replies.DecisionReply]:
    """Set the balloon's target: xl mem-set."""
    return Call("PUT", _of(ref, "target"), replies.DecisionReply, body)


def set_component(
    ref: str, owner: str, name: str, body: requests.AmountRequest
) -> Call[replies.DecisionReply]:
    """Set one owner's amount."""
    return Call("PUT", _of(ref, "components", owner, name), replies.DecisionReply, body)


def increase_component(
    ref: str, owner: str, name: str, body: requests.IncreaseRequest
) -> Call[replies.DecisionReply]:
    """Add to one owner's amount, or subtract from it."""
    return Call(
        "POST", _of(ref, "components", owner, name, "increase"), replies.DecisionReply, body
    )


def remove_component(ref: str, owner: str, name: str) -> Call[replies.DecisionReply]:
    """Remove one owner's amount."""
    return Call("DELETE", _of(ref, "components", owner, name), replies.DecisionReply)


def build(ref: str, body: requests.BuildRequest) -> Call[replies.DecisionReply]:
    """Announce that a new instance is about to be populated; `ref` is its domid."""
    return Call("POST", _of(ref, "builds"), replies.DecisionReply, body)


def headroom(ref: str, body: requests.HeadroomRequest) -> Call[replies.DecisionReply]:
    """Make room for what a device model is about to populate."""
    return Call("POST", _of(ref, "headroom"), replies.DecisionReply, body)


def rollback(ref: str, body: requests.RollbackRequest) -> Call[replies.DecisionReply]:
    """Put an earlier revision in force again."""
    return Call("POST", _of(ref, "rollback"), replies.DecisionReply, body)


def drift(ref: str) -> Call[replies.DriftReply]:
    """Ask what becomes of a maximum that another program writes."""
    return Call("GET", _of(ref, "drift"), replies.DriftReply)


def set_drift(ref: str, body: requests.DriftRequest) -> Call[replies.DriftReply]:
    """Say what becomes of it, for a time or until it is taken back."""
    return Call("PUT", _of(ref, "drift"), replies.DriftReply, body)


def clear_drift(ref: str) -> Call[replies.DriftReply]:
    """Let the configuration say it again."""
    return Call("DELETE", _of(ref, "drift"), replies.DriftReply)


def explain(ref: str) -> Call[replies.ExplainReply]:
    """Ask why the limit is what it is."""
    return Call("GET", _of(ref, "explain"), replies.ExplainReply)


def history(ref: str, *, limit: int = 50, before: int | None = None) -> Call[replies.HistoryReply]:
    """Ask for a domain's decisions, newest first; `before` is a reply's next_before."""
    query = {"limit": limit} | ({} if before is None else {"before": before})
    return Call("GET", _of(ref, "history"), replies.HistoryReply, query=query)


def pushes(ref: str, *, limit: int = 50) -> Call[replies.PushesReply]:
    """Ask for a domain's pushes to Xen, newest first."""
    return Call("GET", _of(ref, "pushes"), replies.PushesReply, query={"limit": limit})


def export_record(ref: str) -> Call[replies.RecordReply]:
    """Ask for the record to take along when a domain moves to another host."""
    return Call("GET", _of(ref, "record"), replies.RecordReply)


def import_record(uuid: str, body: requests.RecordBody) -> Call[replies.DecisionReply]:
    """Import the record of a domain that comes from another host."""
    return Call("PUT", f"/v1/records/{_quoted(uuid)}", replies.DecisionReply, body)


def health() -> Call[replies.Health]:
    """Ask whether the daemon is ready; a reply that it is not is no refusal."""
    return Call("GET", "/v1/health", replies.Health)


def _of(ref: str, *more: str) -> str:
    return "/v1/domains/" + "/".join(_quoted(part) for part in (ref, *more))


def _quoted(part: str) -> str:
    """Return one segment of a path; its dots are quoted, since ".." would be resolved."""
    return quote(part, safe="").replace(".", "%2E")
