"""What one turn looks at: each domain is observed once, and as decided on since."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from maxmemd.arbiter.instances import Instance, is_name
from maxmemd.arbiter.lifecycle import Lifecycle
from maxmemd.arbiter.messages import Refused
from maxmemd.errors import DomainGone, HypervisorError, XenstoreError
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.verdicts import NO_EFFECTS, Effects, Refusal
from maxmemd.ports import LookResult


@dataclass(slots=True)
class Observation:
    """An instance, what Xen and xenstore say of it, and what this turn will write for it."""

    instance: Instance
    xen: XenFacts
    store: StoreFacts | None = None
    effects: Effects = NO_EFFECTS


@dataclass(slots=True)
class Observer:
    """Observes for one turn. At most one rescan of the host, and one with all names.

    A name is believed only when xenstore still says it of that domain: xl rename tells nobody.
    """

    lifecycle: Lifecycle
    _ahead: dict[int, LookResult] = field(default_factory=dict)
    _seen: dict[int, Observation] = field(default_factory=dict)
    _unmanaged: frozenset[str] = frozenset()
    _rescanned: bool = False
    _named: bool = False

    def observe_ahead(self, wanted: Sequence[tuple[str, bool]]) -> None:
        """Look in one message at what is wanted: references, each with whether xenstore is, too."""
        found = [(self.lifecycle.instances.find(ref), with_store) for ref, with_store in wanted]
        stores = {lives[0].domid for lives, with_store in found if with_store and len(lives) == 1}
        domids = list(dict.fromkeys(lives[0].domid for lives, _ in found if len(lives) == 1))
        if domids:
            looked = self.lifecycle.enforcer.pusher.look(domids, stores=stores)
            self._ahead = dict(zip(domids, looked, strict=True))

    def of(self, ref: str, *, with_store: bool) -> Observation | Refused:
        """Return what a reference means now.

        Raises HypervisorError, XenstoreError (only `with_store`) or LedgerError.
        """
        found = self._find(ref)
        if isinstance(found, Refused):
            return found
        seen = self._seen.get(found.domid) or self._observe(ref, found)
        if isinstance(seen, Observation) and with_store and seen.store is None:
            facts = self._store(seen.instance.domid)
            seen.store = seen.instance.effects.on(facts)
        if isinstance(seen, Observation) and self._is_renamed(ref, seen):
            self._rescan(names=True)
            return self.of(ref, with_store=with_store)
        return seen

    def decided(self, seen: Observation, effects: Effects) -> None:
        """Let later wishes of this turn see what an earlier one will write."""
        if effects is NO_EFFECTS:
            return
        seen.effects = seen.effects.then(effects)
        if seen.store is not None:
            seen.store = effects.on(seen.store)

    def effects(self, instance: Instance) -> Effects:
        """Return what this turn will write for an instance, after what was still open.

        What is decided for one half of a local migration is written for both.
        """
        wanted = instance.effects
        for life in self.lifecycle.instances.of_uuid(instance.uuid):
            if life.domid in self._seen:
                wanted = wanted.then(self._seen[life.domid].effects)
        return wanted

    def looked_at(self, instance: Instance) -> bool:
        """Return whether a wish of this turn was about this very instance."""
        return instance.domid in self._seen

    def _find(self, ref: str) -> Instance | Refused:
        instances = self.lifecycle.instances
        found = instances.find(ref)
        named = is_name(ref)
        if len(found) != 1 and not (self._named if named else self._rescanned):
            self._rescan(names=named)
            found = instances.find(ref)
        if not found:
            return without_uuid(ref) if ref in self._unmanaged else unknown(ref)
        return found[0] if len(found) == 1 else _ambiguous(ref, found)

    def _observe(self, ref: str, instance: Instance) -> Observation | Refused:
        """Ask Xen about one instance; a domid that is another domain by now is not it (A3, A6)."""
        try:
            xen = self._xen(instance.domid)
        except DomainGone:
            xen = None
        if xen is None or xen.uuid != instance.uuid or xen.dying:
            if self._rescanned:
                return gone(instance)
            self._rescan(names=False)
            found = self.of(ref, with_store=False)
            dying = xen is not None and xen.dying and isinstance(found, Refused)
            return gone(instance) if dying else found
        seen = self._seen[instance.domid] = Observation(instance, xen)
        instance.seen_pages = xen.max_pages
        return seen

    def _xen(self, domid: int) -> XenFacts:
        """Return what Xen says of a domain: what the look ahead showed, or else asked now."""
        looked = self._ahead.get(domid)
        if looked is None:
            return self.lifecycle.enforcer.pusher.domain(domid)
        if isinstance(looked.xen, HypervisorError):
            raise looked.xen
        return looked.xen

    def _store(self, domid: int) -> StoreFacts:
        """Return what xenstore says of a domain, likewise."""
        looked = self._ahead.get(domid)
        if looked is None or looked.store is None:
            return self.lifecycle.enforcer.pusher.facts(domid)
        if isinstance(looked.store, XenstoreError):
            raise looked.store
        return looked.store

    def _is_renamed(self, ref: str, seen: Observation) -> bool:
        if self._named or not is_name(ref):
            return False
        store = seen.store or self.lifecycle.store(seen.instance)
        return store.name != ref

    def _rescan(self, *, names: bool) -> None:
        self._rescanned = True
        self._ahead.clear()
        facts = self.lifecycle.enforcer.pusher.domains()
        self.lifecycle.rescan(facts)
        self._unmanaged = frozenset(str(fact.domid) for fact in facts if not fact.managed)
        if names:
            self._named = True
            self.lifecycle.rename()


def unknown(ref: str) -> Refused:
    """Refuse a reference to nothing."""
    numbers: dict[str, int | str] = {"ref": ref}
    domid = int(ref) if ref.isascii() and ref.isdigit() and len(ref) < 10 else None
    detail = f"cannot find a domain {ref!r}: no domid, UUID or name of a live domain is that"
    return Refused(Refusal("unknown-domain", detail, numbers), domid=domid)


def without_uuid(ref: str) -> Refused:
    """Refuse to decide for a domain that the ledger cannot name."""
    detail = f"cannot decide for domain {ref}: it has no UUID, so nothing is recorded of it"
    return Refused(Refusal("unknown-domain", detail, {"ref": ref}), domid=int(ref))


def gone(instance: Instance) -> Refused:
    """Refuse to decide for a domain that is dying or gone."""
    detail = f"cannot decide for {instance.name or instance.uuid}: domain {instance.domid} is gone"
    refusal = Refusal("domain-gone", f"{detail} or dying", {})
    return Refused(refusal, instance.uuid, instance.domid, instance.name)


def absent(uuid: str) -> Refused:
    """Refuse to change the record of a domain that does not live here."""
    detail = f"cannot decide for {uuid}: it does not live here now (its record can be imported)"
    return Refused(Refusal("domain-gone", detail, {}), uuid)


def _ambiguous(ref: str, found: Sequence[Instance]) -> Refused:
    domids = ", ".join(str(instance.domid) for instance in found)
    detail = f"cannot tell which {ref!r} is meant: domains {domids} carry that name (use the domid)"
    return Refused(Refusal("ambiguous-domain", detail, {"ref": ref, "domids": domids}))
