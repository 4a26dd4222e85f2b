"""What is answered about domains, and problems. Amounts are integers named *_kib."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from maxmemd.policy.drift import DriftMode
from maxmemd.policy.outlook import Outlook
from maxmemd.policy.states import EffectState, PushState
from maxmemd.wire.requests import ComponentBody, RecordBody

MAX_MEM = Field(
    default=None,
    description="component operator/max-mem: what the guest may use; null where unknown",
)


class RecordReply(RecordBody):
    """A record that leaves this host: its UUID and revision tell what it is a copy of."""

    uuid: str
    revision: int


class Reply(BaseModel):
    """A reply body."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class Effect(Reply):
    """How far one thing that is written besides the limit is written."""

    effect: Literal["pod-target", "static-max", "target"]
    state: EffectState = Field(
        description="pending and failed: it is tried again; dropped: the domain cannot take it"
    )
    amount_kib: int
    errno: int | None = None
    error: str | None = None


class Push(Reply):
    """How far the limit is in force. `errno` is Xen's last answer where it said no.

    `effects` are what the last push wrote besides, and what is still to be written: whatever
    becomes of them, `state` is the limit's.
    """

    state: PushState
    max_pages: int = Field(description="what was pushed, or is to be")
    seen_pages: int | None = Field(description="what Xen was last seen to hold")
    errno: int | None = None
    error: str | None = None
    effects: list[Effect] = Field(default_factory=list)


class Amounts(Reply):
    """What a domain may have, and the nodes in xenstore; null where not known."""

    max_mem_kib: int | None
    limit_kib: int
    static_max_kib: int | None = Field(description="memory/static-max in xenstore")
    target_kib: int | None = Field(description="memory/target in xenstore, without video RAM")


class Change(Reply):
    """All that a decision changes, or with a dry run would change."""

    before: Amounts
    after: Amounts


class DecisionReply(Reply):
    """A granted wish: durable, and pushed and read back unless `push.state` says otherwise."""

    uuid: str
    domid: int | None = Field(description="null while no instance lives here")
    name: str | None
    revision: int
    max_mem_kib: int | None = MAX_MEM
    limit_kib: int
    max_pages: int
    unlimited: bool
    target_kib: int | None = Field(
        default=None, description="the target that this wish sets; null where it sets none"
    )
    dry_run: bool = False
    replayed: bool = Field(default=False, description="an Idempotency-Key seen before")
    for_next_start: bool = Field(
        default=False, description="no instance lives here: decided for the next one"
    )
    push: Push | None = Field(default=None, description="null where there is nothing to push to")
    change: Change | None = Field(default=None, description="of a dry run and of a rollback")


class ComponentReply(ComponentBody):
    """A component with the revision that set it."""

    revision: int
    observed: bool = Field(
        default=False,
        description="taken from Xen or from a build: no client decided it, and it ends with the"
        " instance",
    )


class XenReply(Reply):
    """What Xen says of an instance now. Pages are 4 KiB."""

    tot_pages: int
    max_pages: int
    outstanding_pages: int
    shared_pages: int
    paged_pages: int
    hvm: bool
    running: bool
    blocked: bool
    paused: bool
    shutdown: bool
    shutdown_reason: int
    dying: bool
    cpu_time_ns: int
    vcpus_online: int
    ssidref: int
    cpupool: int


class Unreadable(Reply):
    """A node of the domain in xenstore that is there and is no amount."""

    node: str
    value: str = Field(description="shortened and escaped")


TARGET_ABOVE = Field(
    default=False,
    description="the target, with video RAM, is above max-mem: the guest cannot come to it",
)
OUTLOOK = Field(
    default=None,
    description="whether a guest that holds more than its limit will shrink; else null",
)


class Actor(Reply):
    """Who asked, as the kernel says it; uid and pid are null for the daemon itself."""

    name: str
    uid: int | None = None
    gid: int | None = None
    pid: int | None = None


class Fight(Reply):
    """Another program writes the maximum again and again, and ours is put back less often."""

    since: str
    writes: int = Field(description="foreign writes that polls saw in it")


class Drift(Reply):
    """What becomes of a maximum that another program writes for a domain.

    `mode` is in force. `source` says where it is from: `set` by a client, for `left_s` more seconds
    or without an end; a key of `drift_of` in the configuration (`domain`); or its `drift` (`host`).
    """

    mode: DriftMode
    source: Literal["set", "domain", "host"]
    configured_mode: DriftMode = Field(description="in force where no client set another")
    configured_key: str | None = Field(description="the key of drift_of that means the domain")
    until: str | None = Field(default=None, description="when a set mode ends, if it does")
    left_s: int | None = None
    set_at: str | None = None
    by: Actor | None = None
    reason: str = ""
    fight: Fight | None = None


class DriftReply(Drift):
    """The same, and whose it is."""

    uuid: str
    domid: int | None = Field(description="null while no instance lives here")
    name: str | None


class DomainReply(Reply):
    """A domain: its record, and its instance on this host if there is one."""

    uuid: str
    domid: int | None
    name: str | None = Field(description="in xenstore now; of a domain that is not here, the last")
    managed: bool = Field(description="false for a domain without a UUID: watched, never pushed")
    revision: int | None
    max_mem_kib: int | None = MAX_MEM
    limit_kib: int | None
    max_pages: int | None
    unlimited: bool
    components: list[ComponentReply]
    recorded_static_max_kib: int | None = Field(description="the last mem-max, kept by mem-set")
    recorded_target_kib: int | None = Field(
        default=None, description="the last mem-set, without video RAM"
    )
    static_max_kib: int | None = Field(description="memory/static-max in xenstore")
    target_kib: int | None = Field(description="memory/target in xenstore, without video RAM")
    videoram_kib: int
    building: bool
    drift: Drift | None = Field(default=None, description="null where nothing is recorded")
    push: Push | None
    xen: XenReply | None
    target_above_limit: bool = TARGET_ABOVE
    outlook: Outlook | None = OUTLOOK
    unreadable: list[Unreadable] = Field(default_factory=list)


class DomainsReply(Reply):
    """All domains, by rising domid; records without an instance last."""

    domains: list[DomainReply]


class Problem(BaseModel):
    """RFC 9457 problem document: a permanent `code`, the numbers as fields of their own."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str = Field(description='a sentence that starts with "cannot"')
    code: str
