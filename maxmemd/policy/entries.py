"""What the ledger is asked to keep: frozen values, as plain as the rows they become."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from maxmemd.policy.components import Record
from maxmemd.policy.drift import SetMode
from maxmemd.policy.endings import Ending
from maxmemd.policy.kinds import EntryKind
from maxmemd.policy.states import BuildPhase, PushState


class Entry(NamedTuple):
    """One entry of the history. `actor`, `wish` and `state` are JSON text.

    `state` is None for an entry that changes no record (a refusal, drift that was undone, the life
    of an instance); `revision` is then the record's present one. `key` is the client's
    idempotency key with its name in front. `at_ns` is when it happened, None for the commit's time.
    """

    uuid: str
    revision: int
    kind: EntryKind
    actor: str
    wish: str
    state: str | None
    key: str | None = None
    at_ns: int | None = None


class BuildState(NamedTuple):
    """What must not be forgotten of an instance: its unique ID, and what became of its build.

    `toolstack_pages` is what its toolstack wrote where a push of ours, of `pushed_pages`, took
    its place. `build_pages` is what an announced build has to be allowed until it runs.
    `is_newcomer` says that limits by name are still to be decided of it, also once it has run.
    `unique_id` is Xen's, None where it is not known (A11).
    """

    phase: BuildPhase
    toolstack_pages: int | None = None
    pushed_pages: int | None = None
    build_pages: int | None = None
    is_newcomer: bool = False
    unique_id: int | None = None

    @property
    def has_settled(self) -> bool:
        """Whether the instance has run, and its record is decided."""
        return self.phase is BuildPhase.SETTLED


SETTLED_BUILD = BuildState(BuildPhase.SETTLED)
"""The build of an instance that has run and has no unique ID, and of which everything is known."""


class InstanceRow(NamedTuple):
    """One life of a domain on this host, and how far its limit is in force.

    `boot` is the host's boot id: domids start again with each boot. `settled_revision` is the last
    revision that was seen in force, 0 for none. `effects` is JSON text of what is still to be
    written for it, None when nothing is; `build` is JSON text of its BuildState, None when that is
    SETTLED_BUILD. `drift_pages` is the foreign maximum that is left alone (drift = "alert", or a
    fight), None where there is none, 0 where it is not known which. `fight_ns` is when a fight over
    its maximum began, None where there is none. Times are wall-clock nanoseconds.
    """

    uuid: str
    domid: int
    incarnation: int
    boot: str
    began_ns: int
    ended_ns: int | None
    push_state: PushState
    settled_revision: int
    effects: str | None
    build: str | None = None
    drift_pages: int | None = None
    fight_ns: int | None = None


class PushRow(NamedTuple):
    """One push and its read-back. `errno` is Xen's answer where it said no.

    `after_seq` is the newest entry's seq at that time, as far as it is known before it is written.
    """

    at_ns: int
    uuid: str
    domid: int
    incarnation: int
    revision: int
    max_pages: int
    seen_pages: int | None
    errno: int | None
    after_seq: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a ledger held when it was opened: the records, and the instances not ended.

    `endings` says how the last instance of a domain ended, where a reason was seen, or that a
    client decided on it since. `extent` is how many entries and pushes there are: it grows with
    each commit of any. `drift_modes` are the modes that clients set for single domains, by UUID.
    `names` are the last names of the domains that have a record, by UUID, and `actors` who decided
    on them last, as JSON text. `newest_ns` is the time of the newest entry, 0 where there is none.
    """

    records: tuple[Record, ...]
    instances: tuple[InstanceRow, ...]
    endings: dict[str, Ending]
    extent: tuple[int, int]
    drift_modes: Mapping[str, SetMode] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    actors: Mapping[str, str] = field(default_factory=dict)
    newest_ns: int = 0
