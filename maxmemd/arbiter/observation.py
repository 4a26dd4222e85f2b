"""What one batch looks at: each domain is observed once, and as decided on since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.lifecycle import Lifecycle
from maxmemd.arbiter.messages import Refused
from maxmemd.errors import DomainFault, DomainGone, HypervisorError, XenstoreError
from maxmemd.policy import which_domain
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.reference import Domid, Name, Reference, Uuid, is_called, parse_reference
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from maxmemd.ports import LookResult, Pusher


@dataclass(slots=True)
class Observation:
    """An instance, what Xen and xenstore say of it, and what this batch will write for it."""

    instance: Instance
    xen: XenFacts
    store: StoreFacts | None = None
    effects: Effects = NO_EFFECTS

    def on_effects_granted(self, effects: Effects) -> None:
        """Show later wishes of the batch what an earlier one will write."""
        if effects is NO_EFFECTS:
            return
        self.effects = self.effects.then(effects)
        if self.store is not None:
            self.store = effects.on(self.store)


@dataclass(frozen=True, slots=True)
class Halted:
    """A recorded domain that has no instance here; `dying` is its last one until Xen drops it."""

    uuid: str
    name: str | None
    dying: XenFacts | None = None


Found = Observation | Halted | Refused
"""What a reference means: a living instance, a record alone, or why none can be found."""


@dataclass(slots=True)
class Observer:
    """Observes for one batch. At most one rescan of the host, and one with all names.

    The one lookup: every route and verb finds by it the domain that a reference means.
    A name is believed only when xenstore still says it of that domain: nothing tells of an
    xl rename.
    """

    lifecycle: Lifecycle
    pusher: Pusher
    _ahead: dict[int, LookResult] = field(default_factory=dict)
    _seen: dict[int, Observation] = field(default_factory=dict)
    _facts: Mapping[int, XenFacts] = field(default_factory=dict)
    _rescanned: bool = False
    _named: bool = False

    def observe_ahead(self, wanted: Sequence[tuple[str, bool]]) -> None:
        """Look in one message at what is wanted: references, each with whether xenstore is, too."""
        find = self.lifecycle.instances.find
        found = [(find(parse_reference(ref)), with_store) for ref, with_store in wanted]
        stores = {lives[0].domid for lives, with_store in found if with_store and len(lives) == 1}
        domids = list(dict.fromkeys(lives[0].domid for lives, _ in found if len(lives) == 1))
        if domids:
            looked = self.pusher.look(domids, stores=stores)
            self._ahead = dict(zip(domids, looked, strict=True))

    def observe(self, ref: str, *, with_store: bool = False) -> Found:
        """Return what a reference means now.

        Raises HypervisorError, XenstoreError (only `with_store`) or LedgerError.
        """
        reference = parse_reference(ref)
        found = self._find(ref, reference)
        if not isinstance(found, Instance):
            return found
        seen = self._seen.get(found.domid) or self._observe_instance(ref, found)
        if isinstance(seen, Observation) and with_store and seen.store is None:
            instance, xen = seen.instance, seen.xen
            facts = self._nodes_of(instance.domid)
            if xen.is_being_destroyed(had_path=instance.had_path, has_path=facts.has_path):
                self.lifecycle.close(instance, still_listed=True)
                return _gone(instance)
            seen.store = instance.effects.on(self.lifecycle.nodes.note(instance, facts))
        if isinstance(seen, Observation) and self._is_renamed(reference, seen):
            self._rescan(names=True)
            return self.observe(ref, with_store=with_store)
        return seen

    def effects_for(self, instance: Instance) -> Effects:
        """Return what this batch will write for an instance, after what was still open.

        What is decided for one half of a local migration is written for both.
        """
        wanted = instance.effects
        if not self.concerns(instance):
            return wanted
        for life in self.lifecycle.instances.of_uuid(instance.uuid):
            if life.domid in self._seen:
                wanted = wanted.then(self._seen[life.domid].effects)
        return wanted

    def concerns(self, instance: Instance) -> bool:
        """Return whether what this batch decides on its UUID is for this very instance, too."""
        is_left_behind = self.lifecycle.instances.is_left_behind(instance)
        return self.has_observed(instance) or not is_left_behind

    def has_observed(self, instance: Instance) -> bool:
        """Return whether a wish of this batch was about this very instance."""
        return instance.domid in self._seen

    def unmanaged(self, ref: str) -> XenFacts | None:
        """Return what Xen says of a domain without a UUID, once `observe` refused to decide."""
        meant = parse_reference(ref)
        fact = self._facts.get(meant.number) if isinstance(meant, Domid) and meant.number else None
        return None if fact is None or fact.managed or fact.dying else fact

    def _find(self, ref: str, reference: Reference) -> Instance | Halted | Refused:
        instances, named = self.lifecycle.instances, isinstance(reference, Name)
        found = instances.find(reference)
        is_shared = isinstance(reference, Uuid) and len(instances.of_uuid(reference.text)) > 1
        # which of two instances has run, and so is meant, may be newer than the last poll
        if (len(found) != 1 or is_shared) and not (self._named if named else self._rescanned):
            self._rescan(names=named)
            found = instances.find(reference)
        if found:
            return _only(ref, found)
        match reference:
            case Domid(number):
                return self._find_no_domid(ref, number)
            case Uuid(uuid):
                return self._find_record(ref, [uuid]) or self._find_odd_name(ref)
        return self._find_last_name(ref)

    def _find_record(self, ref: str, uuids: Sequence[str]) -> Halted | Refused | None:
        """Return the record that an instance left which is gone, or dying."""
        records, alive = self.lifecycle.records, self.lifecycle.instances.uuids()
        left = [uuid for uuid in uuids if uuid not in alive and records.get(uuid) is not None]
        if len(left) > 1:
            return Refused(which_domain.ambiguous_record(ref, left))
        if not left:
            return None
        dying = [each for each in self._facts.values() if each.uuid == left[0]]
        return Halted(left[0], records.name_of(left[0]), dying[0] if dying else None)

    def _find_odd_name(self, ref: str) -> Instance | Halted | Refused:
        """Return the domain whose name looks like a UUID."""
        if not self._named:
            self._rescan(names=True)
        found = self.lifecycle.instances.named(ref)
        return _only(ref, found) if found else self._find_last_name(ref)

    def _find_last_name(self, ref: str) -> Halted | Refused:
        """Return the domain that had a name last, and is gone or dying."""
        named_last = self.lifecycle.records.named(ref)
        return self._find_record(ref, named_last) or Refused(which_domain.unknown_domain(ref))

    def _find_no_domid(self, ref: str, domid: int | None) -> Refused:
        """Say truly why a domid means no domain that can be decided on."""
        fact = None if domid is None else self._facts.get(domid)
        leaving = None if domid is None else self.lifecycle.instances.leaving(domid)
        if leaving is not None:
            return Refused(which_domain.dying(leaving.domid), leaving.uuid, leaving.domid)
        if fact is None:
            named = [instance.domid for instance in self.lifecycle.instances.named(ref)]
            return Refused(which_domain.unknown_domain(ref, named), domid=domid)
        if fact.dying:
            uuid = fact.uuid if fact.managed else None
            return Refused(which_domain.dying(fact.domid), uuid, fact.domid)
        return Refused(which_domain.without_uuid(fact.domid), domid=fact.domid)

    def _observe_instance(self, ref: str, instance: Instance) -> Found:
        """Ask Xen about one instance; a domid that is another domain by now is not it (A3, A6)."""
        try:
            xen = self._facts_of(instance.domid)
        except DomainGone:
            xen = None
        if xen is None or not instance.is_seen_in(xen) or xen.dying:
            if self._rescanned:
                return _gone(instance)
            self._rescan(names=False)
            return self.observe(ref)
        seen = self._seen[instance.domid] = Observation(instance, xen)
        instance.on_observed(xen.max_pages)
        self.lifecycle.endings.observe([xen])
        return seen

    def _facts_of(self, domid: int) -> XenFacts:
        """Return what Xen says of a domain: what the look ahead showed, or else asked now."""
        looked = self._ahead.get(domid)
        if looked is None:
            return self.pusher.domain(domid)
        if isinstance(looked.xen, HypervisorError | DomainFault):
            raise looked.xen
        return looked.xen

    def _nodes_of(self, domid: int) -> StoreFacts:
        """Return what xenstore says of a domain, likewise."""
        looked = self._ahead.get(domid)
        if looked is None or looked.store is None:
            return self.pusher.facts(domid)
        if isinstance(looked.store, XenstoreError):
            raise looked.store
        return looked.store

    def _is_renamed(self, reference: Reference, seen: Observation) -> bool:
        if self._named or not isinstance(reference, Name):
            return False
        nodes = seen.store or self.lifecycle.nodes_of(seen.instance)
        return not is_called(reference.text, nodes.name)

    def _rescan(self, *, names: bool) -> None:
        # What was looked at ahead is older than the rescan, and its domids may be others' by now.
        self._rescanned = True
        self._ahead.clear()
        facts = self.pusher.domains()
        self.lifecycle.rescan(facts)
        self._facts = {fact.domid: fact for fact in facts}
        if names:
            self._named = True
            self.lifecycle.read_all_names()


def _only(ref: str, found: Sequence[Instance]) -> Instance | Refused:
    if len(found) == 1:
        return found[0]
    return Refused(which_domain.ambiguous(ref, [instance.domid for instance in found]))


def _gone(instance: Instance) -> Refused:
    refusal = which_domain.domain_gone(instance.name or instance.uuid, instance.domid)
    return Refused(refusal, instance.uuid, instance.domid, instance.name)
