"""The verbs of the API: each makes an Ask, which a client does.

A `ref` is a domid, a UUID or a name. Amounts are KiB, as everywhere on the wire.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from maxmemd import wire

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request: what is sent, and the model of what comes back."""

    method: str
    path: str
    gives: type[T]
    body: BaseModel | None = None
    query: dict[str, int] = field(default_factory=dict)


def host() -> Call[wire.HostReply]:
    """Ask for the host's memory."""
    return Call("GET", "/v1/host", wire.HostReply)


def domains() -> Call[wire.DomainsReply]:
    """Ask for all domains."""
    return Call("GET", "/v1/domains", wire.DomainsReply)


def domain(ref: str) -> Call[wire.DomainReply]:
    """Ask for one domain."""
    return Call("GET", _of(ref), wire.DomainReply)


def set_limit(ref: str, body: wire.LimitRequest) -> Call[wire.DecisionReply]:
    """Set what the guest may use at most: xl mem-max."""
    return Call("PUT", _of(ref, "limit"), wire.DecisionReply, body)


def set_target(ref: str, body: wire.TargetRequest) -> Call[wire.DecisionReply]:
    """Set what the balloon aims at: xl mem-set."""
    return Call("PUT", _of(ref, "target"), wire.DecisionReply, body)


def set_component(
    ref: str, owner: str, name: str, body: wire.AmountRequest
) -> Call[wire.DecisionReply]:
    """Set one owner's amount."""
    return Call("PUT", _of(ref, "components", owner, name), wire.DecisionReply, body)


def increase_component(
    ref: str, owner: str, name: str, body: wire.IncreaseRequest
) -> Call[wire.DecisionReply]:
    """Add to one owner's amount, or take from it."""
    return Call("POST", _of(ref, "components", owner, name, "increase"), wire.DecisionReply, body)


def remove_component(ref: str, owner: str, name: str) -> Call[wire.DecisionReply]:
    """Remove one owner's amount."""
    return Call("DELETE", _of(ref, "components", owner, name), wire.DecisionReply)


def build(ref: str, body: wire.BuildRequest) -> Call[wire.DecisionReply]:
    """Announce that a new instance is about to be populated; `ref` is its domid."""
    return Call("POST", _of(ref, "builds"), wire.DecisionReply, body)


def headroom(ref: str, body: wire.HeadroomRequest) -> Call[wire.DecisionReply]:
    """Make room for what a device model is about to populate."""
    return Call("POST", _of(ref, "headroom"), wire.DecisionReply, body)


def rollback(ref: str, body: wire.RollbackRequest) -> Call[wire.DecisionReply]:
    """Put an earlier revision in force again."""
    return Call("POST", _of(ref, "rollback"), wire.DecisionReply, body)


def explain(ref: str) -> Call[wire.ExplainReply]:
    """Ask why the limit is what it is."""
    return Call("GET", _of(ref, "explain"), wire.ExplainReply)


def history(ref: str, *, limit: int = 50, before: int | None = None) -> Call[wire.HistoryReply]:
    """Ask for what was decided, newest first; `before` is a reply's next_before."""
    query = {"limit": limit} | ({} if before is None else {"before": before})
    return Call("GET", _of(ref, "history"), wire.HistoryReply, query=query)


def pushes(ref: str, *, limit: int = 50) -> Call[wire.PushesReply]:
    """Ask for what was pushed to Xen, newest first."""
    return Call("GET", _of(ref, "pushes"), wire.PushesReply, query={"limit": limit})


def export_record(ref: str) -> Call[wire.RecordReply]:
    """Ask for a record as it travels with its domain."""
    return Call("GET", _of(ref, "record"), wire.RecordReply)


def import_record(uuid: str, body: wire.RecordBody) -> Call[wire.DecisionReply]:
    """Take the record of a domain that comes from elsewhere."""
    return Call("PUT", f"/v1/records/{_quoted(uuid)}", wire.DecisionReply, body)


def health() -> Call[wire.Health]:
    """Ask whether the daemon is ready; one that is not says so and is no refusal."""
    return Call("GET", "/v1/health", wire.Health)


def _of(ref: str, *more: str) -> str:
    return "/v1/domains/" + "/".join(_quoted(part) for part in (ref, *more))


def _quoted(part: str) -> str:
    """Return one segment of a path; dots are quoted too, so that none is ".."."""
    return quote(part, safe="").replace(".", "%2E")
