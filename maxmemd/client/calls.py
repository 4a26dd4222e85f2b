"""The requests of the API: each function makes a Call, which a client sends.

A `ref` is a domid (also as an int), a UUID or a name. Amounts are KiB, as everywhere on the wire.
What cannot be sent raises TypeError where the Call is made.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from maxmemd.wire import daemon_replies, history_replies, replies, requests

T = TypeVar("T", bound=BaseModel)
Ref = str | int


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and the model of its reply."""

    method: str
    path: str
    gives: type[T]
    body: BaseModel | None = None
    query: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.body, BaseModel | None):
            raise TypeError(
                f"cannot send {self.body!r} as a body: give one of maxmemd.wire.requests"
            )
        for name, value in self.query.items():
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"cannot send {value!r} as {name}: give a number")


def host() -> Call[daemon_replies.HostReply]:
    """Ask for the host's memory."""
    return Call("GET", "/v1/host", daemon_replies.HostReply)


def domains() -> Call[replies.DomainsReply]:
    """Ask for all domains."""
    return Call("GET", "/v1/domains", replies.DomainsReply)


def domain(ref: Ref) -> Call[replies.DomainReply]:
    """Ask for one domain."""
    return Call("GET", _of(ref), replies.DomainReply)


def set_limit(ref: Ref, body: requests.LimitRequest) -> Call[replies.DecisionReply]:
    """Set the most that the guest may use: xl mem-max."""
    return Call("PUT", _of(ref, "limit"), replies.DecisionReply, body)


def set_target(ref: Ref, body: requests.TargetRequest) -> Call[replies.DecisionReply]:
    """Set the balloon's target: xl mem-set."""
    return Call("PUT", _of(ref, "target"), replies.DecisionReply, body)


def set_component(
    ref: Ref, owner: str, name: str, body: requests.AmountRequest
) -> Call[replies.DecisionReply]:
    """Set one owner's amount."""
    return Call("PUT", _of(ref, "components", owner, name), replies.DecisionReply, body)


def increase_component(
    ref: Ref, owner: str, name: str, body: requests.IncreaseRequest
) -> Call[replies.DecisionReply]:
    """Add to one owner's amount, or subtract from it."""
    return Call(
        "POST", _of(ref, "components", owner, name, "increase"), replies.DecisionReply, body
    )


def remove_component(ref: Ref, owner: str, name: str) -> Call[replies.DecisionReply]:
    """Remove one owner's amount."""
    return Call("DELETE", _of(ref, "components", owner, name), replies.DecisionReply)


def build(ref: Ref, body: requests.BuildRequest) -> Call[replies.DecisionReply]:
    """Announce that a new instance is about to be populated; `ref` is its domid."""
    return Call("POST", _of(ref, "builds"), replies.DecisionReply, body)


def headroom(ref: Ref, body: requests.HeadroomRequest) -> Call[replies.DecisionReply]:
    """Make room for what a device model is about to populate."""
    return Call("POST", _of(ref, "headroom"), replies.DecisionReply, body)


def rollback(ref: Ref, body: requests.RollbackRequest) -> Call[replies.DecisionReply]:
    """Put an earlier revision in force again."""
    return Call("POST", _of(ref, "rollback"), replies.DecisionReply, body)


def drift(ref: Ref) -> Call[replies.DriftReply]:
    """Ask what becomes of a maximum that another program writes."""
    return Call("GET", _of(ref, "drift"), replies.DriftReply)


def set_drift(ref: Ref, body: requests.DriftRequest) -> Call[replies.DriftReply]:
    """Say what becomes of it, for a time or until it is taken back."""
    return Call("PUT", _of(ref, "drift"), replies.DriftReply, body)


def clear_drift(ref: Ref) -> Call[replies.DriftReply]:
    """Let the configuration say it again."""
    return Call("DELETE", _of(ref, "drift"), replies.DriftReply)


def explain(ref: Ref) -> Call[history_replies.ExplainReply]:
    """Ask why the limit is what it is."""
    return Call("GET", _of(ref, "explain"), history_replies.ExplainReply)


def history(
    ref: Ref, *, limit: int = 50, before: int | None = None
) -> Call[history_replies.HistoryReply]:
    """Ask for a domain's decisions, newest first; `before` is a reply's next_before."""
    query = {"limit": limit} | ({} if before is None else {"before": before})
    return Call("GET", _of(ref, "history"), history_replies.HistoryReply, query=query)


def pushes(
    ref: Ref, *, limit: int = 50, before: int | None = None
) -> Call[history_replies.PushesReply]:
    """Ask for a domain's pushes to Xen, newest first; `before` is a reply's next_before."""
    query = {"limit": limit} | ({} if before is None else {"before": before})
    return Call("GET", _of(ref, "pushes"), history_replies.PushesReply, query=query)


def export_record(ref: Ref) -> Call[replies.RecordReply]:
    """Ask for the record to take along when a domain moves to another host."""
    return Call("GET", _of(ref, "record"), replies.RecordReply)


def import_record(uuid: str, body: requests.RecordBody) -> Call[replies.DecisionReply]:
    """Import the record of a domain that comes from another host."""
    return Call("PUT", f"/v1/records/{_quoted(uuid)}", replies.DecisionReply, body)


def health() -> Call[daemon_replies.Health]:
    """Ask whether the daemon is ready; a reply that it is not is no refusal."""
    return Call("GET", "/v1/health", daemon_replies.Health)


def _of(ref: Ref, *more: str) -> str:
    parts = (str(ref) if type(ref) is int else ref, *more)  # a bool is no domid
    return "/v1/domains/" + "/".join(_quoted(part) for part in parts)


def _quoted(part: object) -> str:
    """Return one segment of a path; its dots are quoted, since ".." would be resolved."""
    if not isinstance(part, str):
        raise TypeError(f"cannot use {part!r} in a path: give a text, or a domid as an int")
    return quote(part, safe="").replace(".", "%2E")
