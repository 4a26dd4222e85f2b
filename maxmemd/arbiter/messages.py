"""What the arbiter is asked, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from maxmemd.policy.components import Record
from maxmemd.policy.drift import DriftMode
from maxmemd.policy.facts import HostFacts, StoreFacts, XenFacts
from maxmemd.policy.fights import Fight
from maxmemd.policy.orders import EffectOutcome
from maxmemd.policy.outlook import Outlook, TargetAboveLimit
from maxmemd.policy.roles import Bond
from maxmemd.policy.states import IN_FORCE, EffectState, PushState
from maxmemd.policy.verdicts import Refusal
from maxmemd.policy.wishes import Wish


class DecisionRequest(NamedTuple):
    """One wish about one domain. `actor` is JSON text for the history.

    `if_match` is the revision that the client looked at; `key` its idempotency key with its name in
    front. A dry run is decided and answered, and leaves no trace. `bond` is the only domain that
    the caller may touch, None for a caller who is bound to none.
    """

    ref: str
    wish: Wish
    actor: str
    reason: str = ""
    dry_run: bool = False
    if_match: int | None = None
    key: str | None = None
    bond: Bond | None = None


class DriftRequest(NamedTuple):
    """Set the mode of one domain's drift, or take it back (`mode` None). Answered by a DomainView.

    `for_s` is how long it holds, None until it is taken back. The other fields are those of a
    DecisionRequest.
    """

    ref: str
    mode: DriftMode | None
    for_s: int | None
    actor: str
    reason: str = ""
    dry_run: bool = False
    if_match: int | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class LookAtHost:
    """What is the host's memory? Answered by a HostView."""


@dataclass(frozen=True, slots=True)
class LookAtDomains:
    """What are all domains? Answered by DomainViews, the first of them if they are many."""


@dataclass(frozen=True, slots=True, eq=False)
class LookAtMore:
    """What are the others: these domains, as Xen told of them, and these records? Likewise."""

    facts: Sequence[XenFacts]
    away: Sequence[str]


@dataclass(frozen=True, slots=True)
class LookAtDomain:
    """What is this domain? Answered by a DomainView, or Refused where there is none."""

    ref: str


Query = LookAtHost | LookAtDomains | LookAtMore | LookAtDomain
"""A question about the present state, asked of Xen now; nothing is changed by it."""

Ask = DecisionRequest | DriftRequest | Query
"""All that the arbiter can be asked."""


_OPEN = (EffectState.PENDING, EffectState.FAILED)


class PushStatus(NamedTuple):
    """How far a limit is in force, and its effects are written; see policy/states.py."""

    state: PushState
    max_pages: int
    seen_pages: int | None
    errno: int | None
    error: str | None
    effects: tuple[EffectOutcome, ...] = ()


class Amounts(NamedTuple):
    """What a domain may have, and what its balloon aims at; None where it is not known."""

    max_mem_kib: int | None
    limit_kib: int
    static_max_kib: int | None
    target_kib: int | None


class Change(NamedTuple):
    """All that a decision changes, or with a dry run would change."""

    before: Amounts
    after: Amounts


class Granted(NamedTuple):
    """The wish was granted. `push` is None for a dry run and for a domain that lives elsewhere.

    `change` is given for a dry run and for a rollback. `writes` are the names of the effects that
    this very wish has.
    """

    record: Record
    domid: int | None
    name: str | None
    target_kib: int | None = None
    push: PushStatus | None = None
    dry_run: bool = False
    replayed: bool = False
    change: Change | None = None
    writes: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether the limit is in force, and nothing of this wish is still to be written.

        What an earlier wish is still owed is not this one's concern.
        """
        push = self.push
        if push is None:
            return True
        is_written = not any(e.name in self.writes and e.state in _OPEN for e in push.effects)
        return push.state in IN_FORCE and is_written

    def pushed(self, push: PushStatus) -> "Granted":
        """Return the same grant, with how its push went."""
        return Granted(  # by position: this is the hot path
            self.record,
            self.domid,
            self.name,
            self.target_kib,
            push,
            self.dry_run,
            self.replayed,
            self.change,
            self.writes,
        )


@dataclass(frozen=True, slots=True)
class Refused:
    """The wish was refused, and about which domain, as far as that is known."""

    refusal: Refusal
    uuid: str | None = None
    domid: int | None = None
    name: str | None = None


class DriftView(NamedTuple):
    """What becomes of drift of one domain, and which says so.

    `key` is the key of the configuration that means the domain, None where the host's mode does;
    `configured` is the mode by that. The rest is what a client set, None where nothing is: `mode`
    is in force then, for `left_s` more seconds (None is without an end).
    """

    mode: DriftMode
    configured: DriftMode
    key: str | None
    is_set: bool = False
    left_s: float | None = None
    until_ns: int | None = None
    set_ns: int | None = None
    actor: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DomainView:
    """A domain as it is: its record, its instance, and what Xen and xenstore say of it.

    `outlook` is None unless it holds more than its limit.
    `drift` and `fight` say what becomes of other programs' writes to its maximum.
    """

    uuid: str
    record: Record | None
    domid: int | None = None
    name: str | None = None
    building: bool = False
    push: PushStatus | None = None
    xen: XenFacts | None = None
    store: StoreFacts = field(default_factory=StoreFacts)
    target_above: TargetAboveLimit | None = None
    outlook: Outlook | None = None
    drift: DriftView | None = None
    fight: Fight | None = None


@dataclass(frozen=True, slots=True)
class HostView:
    """The host as it is."""

    facts: HostFacts
    domains: int


class DomainViews(tuple[DomainView, ...]):  # noqa: SLOT001 - it has an attribute
    """Domains. `more` asks for the others, None if there are none."""

    more: LookAtMore | None = None


Answer = Granted | Refused | DomainView | HostView | DomainViews
