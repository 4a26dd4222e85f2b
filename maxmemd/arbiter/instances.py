"""Who lives here: the instances of domains on this host, found by domid, UUID or name.

domid alone is never identity (A6): an instance is (uuid, domid, incarnation).
"""

import re
from collections.abc import Iterator, KeysView, Sequence
from dataclasses import dataclass

from maxmemd.policy.entries import BORN, Birth, InstanceRow
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.orders import IN_FORCE
from maxmemd.policy.states import PushState
from maxmemd.policy.verdicts import NO_EFFECTS, Effects

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(slots=True, eq=False)
class Instance:
    """One life of a domain on this host, and how far its limit is in force.

    `wanted_pages` was pushed,
    or is to be; `seen_pages` is what Xen was last seen to hold. `effects` is what is still to be
    written. `building` is true until it first runs; `tracking` while its record still follows
    the build; `unsure` until it is known what it has to do with the record; `announced` when the
    toolstack announced its build or its limit was said, so that there is nothing to guess.
    `retry_s` is a monotonic time; `failures` counts since the last success. `noted_pages` is the
    foreign maximum that an alert was given for; `theirs_pages` is what the toolstack wrote while
    the domain was being built, where a push of ours took its place. `tot_pages` is what it held
    when its limit was last seen in force. `shown` is what xenstore said of it lately, and when
    (monotonic), for those who look at all domains; a push makes it nothing.
    """

    uuid: str
    domid: int
    incarnation: int
    boot: str
    began_ns: int
    name: str | None = None
    building: bool = False
    tracking: bool = False
    unsure: bool = True
    announced: bool = False
    state: PushState = PushState.PENDING
    wanted_pages: int = 0
    seen_pages: int | None = None
    errno: int | None = None
    error: str | None = None
    settled_revision: int = 0
    effects: Effects = NO_EFFECTS
    failures: int = 0
    retry_s: float = 0.0
    noted_pages: int | None = None
    theirs_pages: int | None = None
    tot_pages: int | None = None
    shown: tuple[float, StoreFacts] | None = None

    @property
    def in_force(self) -> bool:
        """Whether Xen holds the limit."""
        return self.state in IN_FORCE

    @property
    def birth(self) -> Birth:
        """What must outlive the daemon while it is being built, or not yet understood."""
        if not (self.building or self.unsure):
            return BORN
        ours = None if self.theirs_pages is None else self.wanted_pages
        return Birth(self.tracking, self.unsure, self.announced, self.theirs_pages, ours)

    def remember(self, birth: Birth) -> None:
        """Know this of how it came to be."""
        self.tracking, self.unsure, self.announced, theirs, ours = birth
        if ours is not None:
            self.theirs_pages, self.wanted_pages = theirs, ours


class InstanceTable:
    """The live instances. Belongs to the arbiter's thread."""

    def __init__(self, incarnations: dict[str, int], boot: str) -> None:
        self._incarnations = incarnations
        self._boot = boot
        self._by_domid: dict[int, Instance] = {}
        self._by_uuid: dict[str, list[Instance]] = {}

    def __iter__(self) -> Iterator[Instance]:
        return iter(list(self._by_domid.values()))

    def __len__(self) -> int:
        return len(self._by_domid)

    def resume(self, row: InstanceRow, effects: Effects, birth: Birth) -> None:
        """Take up an instance that the ledger held open, to be confirmed by `compare`.

        Until Xen says that it runs it may be in the middle of its build.
        """
        instance = Instance(row.uuid, row.domid, row.incarnation, row.boot, row.began_ns)
        instance.settled_revision, instance.effects = row.settled_revision, effects
        instance.state, instance.building = PushState(row.push_state), True
        instance.noted_pages = row.drift_pages
        instance.remember(birth)
        self._add(instance)

    def compare(
        self, facts: Sequence[XenFacts], now_ns: int
    ) -> tuple[list[Instance], list[Instance]]:
        """Bring the census to what Xen says; return the instances that began, and that ended.

        The caller names the newcomers. A domid that carries another UUID, or that belongs to
        an earlier boot of the host, is another instance; a zombie is none.
        """
        seen = {fact.domid: fact for fact in facts if fact.managed and not fact.dying}
        ended = [
            instance
            for instance in self._by_domid.values()
            if instance.domid not in seen
            or seen[instance.domid].uuid != instance.uuid
            or instance.boot != self._boot
        ]
        for instance in ended:
            self.remove(instance)
        began = [
            self._begin(fact, now_ns) for fact in seen.values() if fact.domid not in self._by_domid
        ]
        return began, ended

    def find(self, ref: str) -> list[Instance]:
        """Return the instances that a reference means; more than one is for the caller to refuse.

        Digits are a domid; a UUID's form is a UUID, and of two instances of one domain the
        elder is meant, as it is while a local migration runs; all else is a name.
        """
        if ref.isascii() and ref.isdigit():
            instance = self._by_domid.get(int(ref)) if len(ref) < 10 else None
            return [] if instance is None else [instance]
        if is_uuid(ref):
            return self._by_uuid.get(ref.lower(), [])[:1]
        return [instance for instance in self._by_domid.values() if instance.name == ref]

    def uuids(self) -> KeysView[str]:
        """Return the UUIDs of all who live here."""
        return self._by_uuid.keys()

    def of_uuid(self, uuid: str) -> list[Instance]:
        """Return a domain's live instances, the eldest first."""
        return list(self._by_uuid.get(uuid, ()))

    def remove(self, instance: Instance) -> None:
        """Close an instance."""
        instance.state = PushState.GONE
        if self._by_domid.get(instance.domid) is instance:
            del self._by_domid[instance.domid]
        lives = self._by_uuid.get(instance.uuid, [])
        if instance in lives:
            lives.remove(instance)
        if not lives:
            self._by_uuid.pop(instance.uuid, None)

    def _begin(self, fact: XenFacts, now_ns: int) -> Instance:
        incarnation = self._incarnations.get(fact.uuid, 0) + 1
        self._incarnations[fact.uuid] = incarnation
        instance = Instance(fact.uuid, fact.domid, incarnation, self._boot, now_ns)
        instance.building = not fact.started
        self._add(instance)
        return instance

    def _add(self, instance: Instance) -> None:
        self._by_domid[instance.domid] = instance
        lives = self._by_uuid.setdefault(instance.uuid, [])
        lives.append(instance)
        lives.sort(key=lambda life: life.incarnation)


def is_name(ref: str) -> bool:
    """Return whether a reference is neither a domid nor a UUID."""
    return not (ref.isascii() and ref.isdigit()) and not is_uuid(ref)


def is_uuid(ref: str) -> bool:
    """Return whether a reference has a UUID's form."""
    return len(ref) == 36 and _UUID.fullmatch(ref.lower()) is not None
