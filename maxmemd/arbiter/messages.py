"""What the arbiter is asked, and what it answers."""

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from maxmemd.policy.components import Record
from maxmemd.policy.facts import HostFacts, StoreFacts, XenFacts
from maxmemd.policy.roles import Bond
from maxmemd.policy.states import PushState
from maxmemd.policy.verdicts import Refusal
from maxmemd.policy.wishes import Wish


class DecisionRequest(NamedTuple):
    """One wish about one domain. `actor` is JSON text for the history.

    `if_match` is the revision that the client looked at; `key` its idempotency key with its uid
    in front. A dry run is decided and answered, and leaves no trace. `bond` is the only domain
    that the caller may touch, None for a caller who is bound to none.
    """

    ref: str
    wish: Wish
    actor: str
    reason: str = ""
    dry_run: bool = False
    if_match: int | None = None
    key: str | None = None
    bond: Bond | None = None


class Subject(Enum):
    """What can be looked at; nothing is changed by it."""

    HOST = "host"
    DOMAINS = "domains"
    DOMAIN = "domain"


@dataclass(frozen=True, slots=True)
class Query:
    """A question about the present state, asked of Xen now."""

    subject: Subject
    ref: str = ""


class PushStatus(NamedTuple):
    """How far a limit is in force."""

    state: PushState
    max_pages: int
    seen_pages: int | None
    errno: int | None
    error: str | None


class Granted(NamedTuple):
    """The wish was granted. `push` is None for a dry run and for a domain that lives elsewhere."""

    record: Record
    domid: int | None
    name: str | None
    target_kib: int | None = None
    push: PushStatus | None = None
    dry_run: bool = False
    replayed: bool = False

    def pushed(self, push: PushStatus) -> "Granted":
        """Return the same grant, with how its push went."""
        return Granted(  # by position: this is the hot path
            self.record, self.domid, self.name, self.target_kib, push, self.dry_run, self.replayed
        )


@dataclass(frozen=True, slots=True)
class Refused:
    """The wish was refused, and about which domain, as far as that is known."""

    refusal: Refusal
    uuid: str | None = None
    domid: int | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class DomainView:
    """A domain as it is: its record, its instance, and what Xen and xenstore say of it."""

    uuid: str
    record: Record | None
    domid: int | None = None
    name: str | None = None
    building: bool = False
    push: PushStatus | None = None
    xen: XenFacts | None = None
    store: StoreFacts = field(default_factory=StoreFacts)


@dataclass(frozen=True, slots=True)
class HostView:
    """The host as it is."""

    facts: HostFacts
    domains: int


Answer = Granted | Refused | DomainView | HostView | tuple[DomainView, ...]
