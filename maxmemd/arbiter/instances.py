"""The instances that live on this host, found by domid, UUID or name."""

from collections.abc import Callable, Iterator, KeysView, Sequence
from typing import NamedTuple

from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.instance_rows import instance_of
from maxmemd.errors import LedgerError
from maxmemd.policy.entries import InstanceRow
from maxmemd.policy.facts import XenFacts
from maxmemd.policy.reference import Domid, Reference, Uuid, is_called


class Comparison(NamedTuple):
    """The instances that began and that ended; `trouble` is why others could not begin yet."""

    began: list[Instance]
    ended: list[Instance]
    trouble: LedgerError | None


class InstanceTable:
    """The live instances, by domid and UUID. Belongs to the arbiter's thread."""

    def __init__(self, last_incarnation: Callable[[str], int], boot: str) -> None:
        self._last_incarnation = last_incarnation
        self._boot = boot
        self._by_domid: dict[int, Instance] = {}
        self._by_uuid: dict[str, list[Instance]] = {}
        self._leaving: dict[int, Instance] = {}

    def __iter__(self) -> Iterator[Instance]:
        return iter(list(self._by_domid.values()))

    def __len__(self) -> int:
        return len(self._by_domid)

    def resume(self, row: InstanceRow) -> None:
        """Take up an instance that the ledger held open, to be confirmed by `compare`."""
        self._add(instance_of(row))

    def compare(self, facts: Sequence[XenFacts], now_ns: int) -> Comparison:
        """Bring the table to what Xen says.

        The caller names the newcomers; one whose last incarnation cannot be read begins later. A
        domid that carries another UUID or unique ID, or that belongs to an earlier boot of the
        host, is another instance; a zombie is none, and neither is one that is being destroyed.
        """
        listed = {fact.domid: fact for fact in facts if fact.managed}
        self._leaving = {
            domid: instance
            for domid, instance in self._leaving.items()
            if domid in listed and instance.is_seen_in(listed[domid]) and listed[domid].is_still
        }
        seen = {
            domid: fact
            for domid, fact in listed.items()
            if not fact.dying and domid not in self._leaving
        }
        ended = [
            instance
            for instance in self._by_domid.values()
            if instance.domid not in seen
            or not instance.is_seen_in(seen[instance.domid])
            or instance.boot != self._boot
        ]
        for instance in ended:
            fact = listed.get(instance.domid)
            is_zombie = fact is not None and fact.dying and instance.is_seen_in(fact)
            self.remove(instance, still_listed=is_zombie and instance.boot == self._boot)
        began, trouble = [], None
        for fact in seen.values():
            known = self._by_domid.get(fact.domid)
            if known is not None:
                known.on_identified(fact.unique_id)
                continue
            try:
                began.append(self._begin(fact, now_ns))
            except LedgerError as error:
                trouble = error
        return Comparison(began, ended, trouble)

    def find(self, reference: Reference) -> list[Instance]:
        """Return the instances that are meant; more than one is for the caller to refuse."""
        match reference:
            case Domid(number):
                instance = None if number is None else self._by_domid.get(number)
                return [] if instance is None else [instance]
            case Uuid(uuid):
                meant = self.meant(uuid)
                return [] if meant is None else [meant]
        return self.named(reference.text)

    def known(self, fact: XenFacts) -> Instance | None:
        """Return the instance of which Xen says this."""
        instance = self._by_domid.get(fact.domid)
        return instance if instance is not None and instance.is_seen_in(fact) else None

    def named(self, text: str) -> list[Instance]:
        """Return the instances of this name."""
        return [each for each in self._by_domid.values() if is_called(text, each.name)]

    def leaving(self, domid: int) -> Instance | None:
        """Return the instance of this domid that is being destroyed."""
        return self._leaving.get(domid)

    def uuids(self) -> KeysView[str]:
        """Return the UUIDs of all live instances."""
        return self._by_uuid.keys()

    def of_uuid(self, uuid: str) -> list[Instance]:
        """Return a domain's live instances, the eldest first."""
        return list(self._by_uuid.get(uuid, ()))

    def meant(self, uuid: str) -> Instance | None:
        """Return the instance that a UUID means: the one that has run, and else the elder.

        During a local migration that is the source. Where a failed one, or a broken create, left a
        paused instance behind, it is the domain that runs beside it, whichever is older. Where
        both have run, a migration is about to end the elder, and what is decided is decided for
        both.
        """
        lives = self._by_uuid.get(uuid, ())
        return next((life for life in lives if not life.building), next(iter(lives), None))

    def has_run_beside(self, instance: Instance) -> bool:
        """Whether another instance of its UUID has run."""
        others = self._by_uuid.get(instance.uuid, ())
        return any(not life.building for life in others if life is not instance)

    def is_left_behind(self, instance: Instance) -> bool:
        """Whether it never ran, and a younger instance of its UUID has: no stream fills it."""
        if not instance.building:
            return False
        return any(
            not life.building and life.incarnation > instance.incarnation
            for life in self._by_uuid.get(instance.uuid, ())
        )

    def beside_others(self) -> list[Instance]:
        """Return the instances whose UUID another one has as well; mostly there is none."""
        if len(self._by_uuid) == len(self._by_domid):
            return []
        return [life for lives in self._by_uuid.values() if len(lives) > 1 for life in lives]

    def remove(self, instance: Instance, *, still_listed: bool = False) -> None:
        """Drop an instance that is gone, whether or not it is known to be.

        One that Xen still lists, because it is being destroyed, does not begin again.
        """
        if still_listed:
            self._leaving[instance.domid] = instance
        instance.on_gone(instance.errno, instance.error)
        if self._by_domid.get(instance.domid) is instance:
            del self._by_domid[instance.domid]
        lives = self._by_uuid.get(instance.uuid, [])
        if instance in lives:
            lives.remove(instance)
        if not lives:
            self._by_uuid.pop(instance.uuid, None)

    def _begin(self, fact: XenFacts, now_ns: int) -> Instance:
        lives = self._by_uuid.get(fact.uuid, ())
        last = max([self._last_incarnation(fact.uuid), *(life.incarnation for life in lives)])
        instance = Instance(
            fact.uuid,
            fact.domid,
            last + 1,
            self._boot,
            now_ns,
            fact.unique_id,
            building=not fact.started,
        )
        self._add(instance)
        return instance

    def _add(self, instance: Instance) -> None:
        self._by_domid[instance.domid] = instance
        lives = self._by_uuid.setdefault(instance.uuid, [])
        lives.append(instance)
        lives.sort(key=lambda life: life.incarnation)
