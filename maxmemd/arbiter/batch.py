"""One batch of wishes: observed and decided in order; nothing of it holds before the commit."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from maxmemd.arbiter.answers import change_of, granted_of, refused_of
from maxmemd.arbiter.entries import client_of, entry_of
from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.lifecycle import Lifecycle
from maxmemd.arbiter.messages import (
    Answer,
    Change,
    DecisionRequest,
    Granted,
    Refused,
)
from maxmemd.arbiter.observation import Halted, Observation, Observer
from maxmemd.arbiter.records import Records
from maxmemd.arbiter.used_keys import stands_for, unchanged_entry
from maxmemd.policy.clauses import key_reused, revision_stale, room_ahead
from maxmemd.policy.codec import record_from_text, to_text, wish_to_json
from maxmemd.policy.components import Record
from maxmemd.policy.decide import Picture, decide
from maxmemd.policy.entries import BuildState, Entry
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.reference import Name, Uuid, parse_reference
from maxmemd.policy.roles import Bond
from maxmemd.policy.rules import Rules
from maxmemd.policy.states import BuildPhase, ends_guessing
from maxmemd.policy.verdicts import Grant, Refusal
from maxmemd.policy.which_domain import dying, not_here, own_domain, unknown_domain
from maxmemd.policy.wishes import (
    KINDS,
    Build,
    Headroom,
    Import,
    Rollback,
    SetTarget,
    needs_store,
    says_the_limit,
)


@dataclass(slots=True)
class Batch:
    """What one batch has come to so far.

    `entries` are what is to be committed, `made` the records they make, by UUID and revision, and
    `decided` the last of each; `granted` says for each granted wish, by its place in the batch,
    which instance it is about. `keys` are the idempotency keys used up, `refusals` counts by code.
    `adopt` makes a foreign maximum max-mem that waits for that, before a client decides on it.
    `builds` are the instances whose build was announced, with what it has to be allowed; `limited`
    those whose limit a client decided. `ahead` are the domains without an instance that were
    decided on. `gone` counts the records of domains that are not here by client, once it is asked.
    """

    rules: Rules
    committed: Records
    lifecycle: Lifecycle
    observer: Observer
    adopt: Callable[[Instance, XenFacts], None]
    refusals: dict[str, int]
    entries: list[Entry] = field(default_factory=list)
    decided: dict[str, Record] = field(default_factory=dict)
    made: dict[tuple[str, int], Record] = field(default_factory=dict)
    granted: dict[int, Instance | None] = field(default_factory=dict)
    builds: dict[Instance, int] = field(default_factory=dict)
    limited: list[Instance] = field(default_factory=list)
    keys: dict[str, Entry] = field(default_factory=dict)
    ahead: set[str] = field(default_factory=set)
    gone: Counter[str] | None = None

    def observe_ahead(self, asks: Sequence[DecisionRequest]) -> None:
        """Look at all domains that the wishes of the batch are about, in one message."""
        self.observer.observe_ahead([(ask.ref, _with_store(ask)) for ask in asks])

    def answer(self, index: int, ask: DecisionRequest) -> Answer:
        """Decide one wish; `index` is its place in the batch.

        Raises HypervisorError, XenstoreError or LedgerError, and the wish is not granted.
        """
        # Whose domain it is comes before the key: a device model must not learn from a replay
        # what was granted to another. The key comes before the decision: what was granted once is
        # answered as it was then, even where it would be refused by now.
        foreign = None if ask.bond is None else self._foreign(ask, ask.bond)
        if foreign is not None:
            return foreign
        if ask.key is not None and ask.key in self.keys:
            return self._replayed(index, ask, self.keys[ask.key])

        seen = self._observe(ask)
        if isinstance(seen, Refused):
            return self._refused(ask, seen)
        if isinstance(seen, Observation) and self._is_to_adopt(ask, seen.instance):
            self.adopt(seen.instance, seen.xen)
        uuid = ask.ref.lower() if seen is None else _uuid_of(seen)
        record = self._record_of(uuid)
        is_unheard_of = record is None and seen is None
        record = record or Record(uuid, 0, {})
        no_room = self._no_room_for(ask) if is_unheard_of else None
        verdict = no_room or self._verdict(ask, record, seen)
        if isinstance(verdict, Refusal):
            refused = refused_of(verdict, uuid, seen)
            # The history of a domain begins when something is known of it: were there entries of
            # what is refused to any UUID, it would grow with all that a client can think of.
            return self._counted(refused) if is_unheard_of else self._refused(ask, refused)
        change = None
        if ask.dry_run or isinstance(ask.wish, Rollback):
            change = change_of(record, verdict, self._nodes(seen))
        if ask.dry_run:
            return granted_of(verdict.record, seen, verdict.effects, change=change, dry=True)
        return self._grant(index, ask, verdict, seen, change)

    def _is_to_adopt(self, ask: DecisionRequest, instance: Instance) -> bool:
        """Whether a foreign maximum is taken up first; not over what this batch has decided."""
        is_due = instance.awaits_adoption and instance.uuid not in self.decided
        return is_due and not ask.dry_run

    def _nodes(self, seen: Observation | Halted | None) -> StoreFacts | None:
        if not isinstance(seen, Observation):
            return None
        return seen.store or self.lifecycle.nodes_of(seen.instance)

    def _foreign(self, ask: DecisionRequest, bond: Bond) -> Refused | None:
        """Refuse a device model what is not its domain; no history is written for it."""
        seen = self.observer.observe(ask.ref)
        if isinstance(seen, Refused):
            return self._counted(Refused(seen.refusal))
        if isinstance(seen, Halted):  # what the ledger knows of it is not a device model's to learn
            return self._counted(Refused(unknown_domain(ask.ref)))
        life = seen.instance
        refusal = own_domain(bond, life.domid, life.uuid, life.unique_id)
        return None if refusal is None else self._counted(Refused(refusal))

    def _observe(self, ask: DecisionRequest) -> Observation | Halted | Refused | None:
        """Observe the domain that is meant; None for a record that comes ahead of its domain."""
        seen = self.observer.observe(ask.ref, with_store=_with_store(ask))
        if isinstance(ask.wish, Import):
            # A record names its domain by UUID: it is not for another one that has that for a name.
            uuid = _uuid_in(ask.ref)
            is_living = isinstance(seen, Observation) and seen.instance.uuid == uuid
            return None if uuid is not None and not is_living else seen
        if isinstance(seen, Halted) and seen.dying is not None:
            return Refused(dying(seen.dying.domid), seen.uuid, seen.dying.domid, seen.name)
        if isinstance(seen, Halted) and isinstance(ask.wish, SetTarget | Build | Headroom):
            return Refused(not_here(seen.name or seen.uuid), seen.uuid, name=seen.name)
        return seen

    def _verdict(
        self, ask: DecisionRequest, record: Record, seen: Observation | Halted | None
    ) -> Grant | Refusal:
        if ask.if_match is not None and ask.if_match != record.revision:
            return revision_stale(record.revision, ask.if_match)
        wish = ask.wish
        here = seen if isinstance(seen, Observation) else None
        picture = Picture(
            self.rules,
            record,
            None if here is None else here.xen,
            (here and here.store) or StoreFacts(),
            self._past(record.uuid, wish.revision) if isinstance(wish, Rollback) else None,
            following=here is not None and self._is_following(here.instance),
            tracking=here is not None and self._is_build_newer(here.instance, record),
            ending=self.lifecycle.endings.of_uuid(record.uuid),
        )
        return decide(picture, wish)

    def _no_room_for(self, ask: DecisionRequest) -> Refusal | None:
        """Refuse a record ahead of its domain where there are too many of domains not here."""
        if self.gone is None:
            self.gone = self.committed.gone_of(self.lifecycle.instances.uuids())
        rules, client = self.lifecycle.settings.value.gone, client_of(ask.actor)
        return room_ahead(rules, client, self.gone[client], self.gone.total())

    def _is_following(self, instance: Instance) -> bool:
        """Whether its record is no more than what was seen of its build, in this batch too."""
        return instance.build_phase is BuildPhase.FOLLOWING and instance.uuid not in self.decided

    def _is_build_newer(self, instance: Instance, record: Record) -> bool:
        """Whether Xen's maximum is newer than the record, likewise."""
        is_newer = self.lifecycle.builds.is_build_newer(instance, record)
        return is_newer and instance.uuid not in self.decided

    def build_states(self) -> dict[Instance, BuildState]:
        """Return the instances of which nothing is to be guessed any more, each with its build.

        That a record follows a build is the record's: once a client decides its limit, or another
        instance is announced, it ends for all instances of the UUID.
        """
        named = {*self.builds, *self.limited}
        states = {}
        for uuid in {instance.uuid for instance in named}:
            for life in self.lifecycle.instances.of_uuid(uuid):
                if ends_guessing(life.build_phase, is_named=life in named):
                    build = life.build_in(life.phase_once_decided)
                    pages = self.builds.get(life, life.build_pages)
                    states[life] = build._replace(build_pages=pages)
        return states

    def _past(self, uuid: str, revision: int) -> Record | None:
        return self.made.get((uuid, revision)) or self.committed.at(uuid, revision)

    def _grant(
        self,
        index: int,
        ask: DecisionRequest,
        grant: Grant,
        seen: Observation | Halted | None,
        change: Change | None,
    ) -> Granted:
        """Note a grant for the commit; one that changes nothing has an entry if it has a key."""
        kind, record = KINDS[type(ask.wish)], grant.record
        self.granted[index] = seen.instance if isinstance(seen, Observation) else None
        words = _wish_words(ask)
        if record is self._record_of(record.uuid):
            if ask.key is not None:
                self._add(
                    unchanged_entry(record.uuid, record.revision, kind, ask.actor, words, ask.key)
                )
            return granted_of(record, seen)
        self._add(entry_of(record, kind, ask.actor, to_text(words), ask.key))
        self.decided[record.uuid] = self.made[record.uuid, record.revision] = record
        if seen is None and self.gone is not None and record.revision == 1:
            self.gone[client_of(ask.actor)] += 1
        if isinstance(seen, Halted):
            self.ahead.add(seen.uuid)
        if not isinstance(seen, Observation):
            return granted_of(record, seen, change=change)
        if isinstance(ask.wish, Build):
            self.builds[seen.instance] = grant.build_pages or 0
        elif says_the_limit(ask.wish):
            self.limited.append(seen.instance)
        seen.on_effects_granted(grant.effects)
        return granted_of(record, seen, grant.effects, change=change)

    def _add(self, entry: Entry) -> None:
        self.entries.append(entry)
        if entry.key is not None:
            self.keys[entry.key] = entry

    def _record_of(self, uuid: str) -> Record | None:
        return self.decided.get(uuid) or self.committed.get(uuid)

    def _replayed(self, index: int, ask: DecisionRequest, entry: Entry) -> Answer:
        """Answer a wish that was granted before under the same idempotency key."""
        kind, words = KINDS[type(ask.wish)], _wish_words(ask)
        if not stands_for(entry, self._meant(ask.ref), kind, words):
            return self._counted(Refused(key_reused()))
        record = self._record_in(entry)
        instance = self.lifecycle.instances.meant(entry.uuid)
        self.granted[index] = instance
        if instance is None:
            name = self.committed.name_of(entry.uuid)
            return Granted(record, None, name, replayed=True)
        return Granted(record, instance.domid, instance.name, replayed=True)

    def _record_in(self, entry: Entry) -> Record:
        """Return the record that an entry's wish was answered with."""
        if entry.state is not None:
            return record_from_text(entry.uuid, entry.revision, entry.state)
        record = self._record_of(entry.uuid)
        if record is not None and record.revision == entry.revision:
            return record
        return self._past(entry.uuid, entry.revision) or Record(entry.uuid, entry.revision, {})

    def _refused(self, ask: DecisionRequest, refused: Refused) -> Refused:
        """Count a refusal, and note it in the history of the domain that it is about."""
        self._counted(refused)
        if refused.uuid is not None and not ask.dry_run:
            code = refused.refusal.code
            words = {"wish": KINDS[type(ask.wish)], **wish_to_json(ask.wish), "code": code}
            words["numbers"] = dict(refused.refusal.numbers)
            self.committed.note_refusal(refused.uuid, words, ask.actor)
        return refused

    def _counted(self, refused: Refused) -> Refused:
        """Count a refusal that is in no history, and return it."""
        code = refused.refusal.code
        self.refusals[code] = self.refusals.get(code, 0) + 1
        return refused

    def _meant(self, ref: str) -> str | None:
        """Return the UUID of the domain that a reference means now; None when it means none."""
        uuid = _uuid_in(ref)
        if uuid is not None:
            return uuid
        seen = self.observer.observe(ref)
        return seen.uuid if isinstance(seen, Refused) else _uuid_of(seen)


def _uuid_of(seen: Observation | Halted) -> str:
    return seen.uuid if isinstance(seen, Halted) else seen.instance.uuid


def _with_store(ask: DecisionRequest) -> bool:
    """Whether xenstore is looked at: for what the wish needs, or to believe a name."""
    return isinstance(parse_reference(ask.ref), Name) or needs_store(ask.wish)


def _uuid_in(ref: str) -> str | None:
    """Return the UUID that a reference is; None where it is a domid or a name."""
    reference = parse_reference(ref)
    return reference.text if isinstance(reference, Uuid) else None


def _wish_words(ask: DecisionRequest) -> dict[str, object]:
    words = wish_to_json(ask.wish)
    if ask.reason:
        words["reason"] = ask.reason
    return words
