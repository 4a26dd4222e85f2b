"""What is answered about the host and the daemon: memory, health and tokens."""

from typing import Literal

from pydantic import Field

from maxmemd.policy.drift import DriftMode
from maxmemd.wire.replies import Actor, Reply


class HostReply(Reply):
    """The host's memory and how limits are kept."""

    hypervisor: str
    simulated: bool
    total_kib: int
    free_kib: int = Field(description="free pages as Xen counts them, outstanding claims included")
    scrub_kib: int
    outstanding_kib: int = Field(description="claimed by builds that run")
    sharing_freed_kib: int = Field(description="saved by memory sharing")
    sharing_used_kib: int = Field(description="held by shared pages")
    drift: DriftMode
    floor: Literal["target", "none"]
    domains: int
    version: str


class TokenCreated(Reply):
    """The token: it is shown once, and only its hash is kept."""

    name: str
    role: str
    token: str
    expires: str | None = None


class TokenRevoked(Reply):
    """A token that is refused from now on."""

    name: str


class TokenRow(Reply):
    """What is kept of a token; `expires` is null where it is valid until it is revoked."""

    name: str
    role: str
    created: str
    expires: str | None
    by: Actor


class TokensReply(Reply):
    """The tokens that were not revoked, by name; one that has expired is refused all the same."""

    tokens: list[TokenRow]


class Condition(Reply):
    """What an administrator should know of one domain, though the daemon is well."""

    uuid: str
    domid: int | None
    name: str | None
    kind: Literal["not-compared", "target-above-limit", "node-unreadable", "effect-failed"]
    detail: str


class ServiceCondition(Reply):
    """What an administrator should do about the service itself, though it is ready."""

    kind: Literal["pruning-ended"]
    detail: str


class Finding(Reply):
    """Something that an administrator has to settle, though every part is ready.

    `configuration` and `commands` are what settles it, ready to be pasted: a line of maxmemd.toml
    in place of the one there, and alternatives of it on the command line.
    """

    kind: Literal["fight"]
    uuid: str
    domid: int
    name: str | None
    since: str
    detail: str
    configuration: str
    commands: list[str]


class Health(Reply):
    """Readiness by part; `ready` is true when every part is "ok".

    `findings`, `conditions` and `service` do not change it. `conditions` are of single domains, as
    of the last poll, and 100 at most; `service` are of maxmemd itself.
    """

    live: bool
    ready: bool
    simulated: bool = Field(description="whether the host is no real Xen")
    parts: dict[str, str]
    conditions: list[Condition] = Field(default_factory=list)
    service: list[ServiceCondition] = Field(default_factory=list)
    findings: list[Finding] = Field(default=[])
    history: str | None = Field(None, description="from which entry on the history is proved")
