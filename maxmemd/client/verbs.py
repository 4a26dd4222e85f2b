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
class Ask(Generic[T]):
    """One request: what is sent, and the model of what comes back."""

    method: str
    path: str
    gives: type[T]
    body: BaseModel | None = None
    query: dict[str, int] = field(default_factory=dict)


def host() -> Ask[wire.HostReply]:
    """Ask for the host's memory."""
    return Ask("GET", "/v1/host", wire.HostReply)


def domains() -> Ask[wire.DomainsReply]:
    """Ask for all domains."""
    return Ask("GET", "/v1/domains", wire.DomainsReply)


def domain(ref: str) -> Ask[wire.DomainReply]:
    """Ask for one domain."""
    return Ask("GET", _of(ref), wire.DomainReply)


def set_limit(ref: str, body: wire.LimitRequest) -> Ask[wire.DecisionReply]:
    """Set what the guest may use at most: xl mem-max."""
    return Ask("PUT", _of(ref, "limit"), wire.DecisionReply, body)


def set_target(ref: str, body: wire.TargetRequest) -> Ask[wire.DecisionReply]:
    """Set what the balloon aims at: xl mem-set."""
    return Ask("PUT", _of(ref, "target"), wire.DecisionReply, body)


def set_component(
    ref: str, owner: str, name: str, body: wire.AmountRequest
) -> Ask[wire.DecisionReply]:
    """Set one owner's amount."""
    return Ask("PUT", _of(ref, "components", owner, name), wire.DecisionReply, body)


def increase_component(
    ref: str, owner: str, name: str, body: wire.IncreaseRequest
) -> Ask[wire.DecisionReply]:
    """Add to one owner's amount, or take from it."""
    return Ask("POST", _of(ref, "components", owner, name, "increase"), wire.DecisionReply, body)


def remove_component(ref: str, owner: str, name: str) -> Ask[wire.DecisionReply]:
    """Remove one owner's amount."""
    return Ask("DELETE", _of(ref, "components", owner, name), wire.DecisionReply)


def build(ref: str, body: wire.BuildRequest) -> Ask[wire.DecisionReply]:
    """Announce that a new instance is about to be populated; `ref` is its domid."""
    return Ask("POST", _of(ref, "builds"), wire.DecisionReply, body)


def headroom(ref: str, body: wire.HeadroomRequest) -> Ask[wire.DecisionReply]:
    """Make room for what a device model is about to populate."""
    return Ask("POST", _of(ref, "headroom"), wire.DecisionReply, body)


def rollback(ref: str, body: wire.RollbackRequest) -> Ask[wire.DecisionReply]:
    """Put an earlier revision in force again."""
    return Ask("POST", _of(ref, "rollback"), wire.DecisionReply, body)


def explain(ref: str) -> Ask[wire.ExplainReply]:
    """Ask why the limit is what it is."""
    return Ask("GET", _of(ref, "explain"), wire.ExplainReply)


def history(ref: str, *, limit: int = 50, before: int | None = None) -> Ask[wire.HistoryReply]:
    """Ask for what was decided, newest first; `before` is a reply's next_before."""
    query = {"limit": limit} | ({} if before is None else {"before": before})
    return Ask("GET", _of(ref, "history"), wire.HistoryReply, query=query)


def pushes(ref: str, *, limit: int = 50) -> Ask[wire.PushesReply]:
    """Ask for what was pushed to Xen, newest first."""
    return Ask("GET", _of(ref, "pushes"), wire.PushesReply, query={"limit": limit})


def export_record(ref: str) -> Ask[wire.RecordReply]:
    """Ask for a record as it travels with its domain."""
    return Ask("GET", _of(ref, "record"), wire.RecordReply)


def import_record(uuid: str, body: wire.RecordBody) -> Ask[wire.DecisionReply]:
    """Take the record of a domain that comes from elsewhere."""
    return Ask("PUT", f"/v1/records/{_quoted(uuid)}", wire.DecisionReply, body)


def health() -> Ask[wire.Health]:
    """Ask whether the daemon is ready; one that is not says so and is no refusal."""
    return Ask("GET", "/v1/health", wire.Health)


def _of(ref: str, *more: str) -> str:
    return "/v1/domains/" + "/".join(_quoted(part) for part in (ref, *more))


def _quoted(part: str) -> str:
    """Return one segment of a path; dots are quoted too, so that none is ".."."""
    return quote(part, safe="").replace(".", "%2E")
