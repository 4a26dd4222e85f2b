"""What becomes of drift of each domain: as a client set it, or as the configuration has it.

A mode that was set is the domain's in all its lives here, and is kept in the ledger. It counts for
nothing from the moment that its time is over; the next poll notes that, and drops it.
"""

from dataclasses import dataclass

from maxmemd.arbiter.entries import DAEMON
from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.lifecycle import Lifecycle
from maxmemd.arbiter.messages import DomainView, DriftRequest, DriftView, Refused
from maxmemd.arbiter.observation import Found, Halted, Observation, Observer
from maxmemd.arbiter.records import Records
from maxmemd.arbiter.settings import CurrentSettings
from maxmemd.arbiter.used_keys import stands_for, unchanged_entry
from maxmemd.policy.clauses import key_reused, revision_stale
from maxmemd.policy.codec import to_text
from maxmemd.policy.drift import DriftMode, Instant, SetMode, carried, is_over, left_s
from maxmemd.policy.entries import Entry
from maxmemd.policy.kinds import EntryKind
from maxmemd.policy.verdicts import Refusal
from maxmemd.ports import Clock


@dataclass(slots=True)
class DriftModes:
    """The modes of all domains. Belongs to the arbiter's thread."""

    settings: CurrentSettings
    records: Records
    lifecycle: Lifecycle
    clock: Clock
    boot: str

    def mode_of(self, instance: Instance) -> DriftMode:
        """Return the mode that is in force for an instance.

        Where the configuration has names, xenstore is asked for this one again: nothing tells of
        an xl rename.
        """
        found = self._set_mode(instance.uuid)
        if found is not None:
            return found.mode
        rules = self.settings.value.drift
        if rules.of:
            self.lifecycle.read_name(instance)
        return rules.find(instance.uuid, instance.name)[0]

    def view(self, uuid: str, name: str | None) -> DriftView:
        """Return the mode in force for a domain, where it comes from and until when."""
        return self._view(uuid, name, self._set_mode(uuid))

    def _view(self, uuid: str, name: str | None, found: SetMode | None) -> DriftView:
        configured, key = self.settings.value.drift.find(uuid, name)
        if found is None:
            return DriftView(configured, configured, key)
        seconds = left_s(found, self._now)
        until_ns = None if seconds is None else self.clock.wall_ns() + int(seconds * 1e9)
        return DriftView(
            found.mode, configured, key, True, seconds, until_ns,
            found.set_ns, found.actor, found.reason,
        )  # fmt: skip

    def answer(
        self, ask: DriftRequest, observer: Observer, keys: dict[str, Entry]
    ) -> DomainView | Refused:
        """Set a mode, or take it back; `keys` are the idempotency keys used up.

        A domain that is away has a mode as well if it has a record. Raises HypervisorError,
        XenstoreError or LedgerError, and nothing is changed.
        """
        seen = observer.observe(ask.ref, with_store=False)
        before = None if ask.key is None else keys.get(ask.key)
        if before is not None and not stands_for(before, _uuid_of(seen), _kind(ask), _words(ask)):
            return Refused(key_reused())
        if isinstance(seen, Observation):
            return self._answer(ask, seen.instance.uuid, seen.instance, keys)
        if isinstance(seen, Halted):
            return self._answer(ask, seen.uuid, None, keys)
        return seen

    def _answer(
        self, ask: DriftRequest, uuid: str, instance: Instance | None, keys: dict[str, Entry]
    ) -> DomainView | Refused:
        refusal = self._carry_out(uuid, ask, keys)
        if refusal is not None:
            return Refused(refusal, uuid)
        found = self._wanted(ask) if ask.dry_run else self._set_mode(uuid)
        record = self.records.get(uuid)
        if instance is None:
            name = self.records.name_of(uuid)
            return DomainView(uuid, record, name=name, drift=self._view(uuid, name, found))
        drift = self._view(uuid, instance.name, found)
        domid, name, fight = instance.domid, instance.name, instance.fight
        return DomainView(uuid, record, domid, name, drift=drift, fight=fight)

    def _carry_out(self, uuid: str, ask: DriftRequest, keys: dict[str, Entry]) -> Refusal | None:
        """Record what is asked for, unless it was under the same key before."""
        if ask.key is not None and ask.key in keys:
            return None
        record = self.records.get(uuid)
        revision = 0 if record is None else record.revision
        if ask.if_match is not None and ask.if_match != revision:
            return revision_stale(revision, ask.if_match)
        if ask.dry_run:
            return None
        kind, words, modes = _kind(ask), _words(ask), dict[str, SetMode | None]()
        if ask.mode is not None or uuid in self.records.drift_modes:
            entry = Entry(uuid, revision, kind, ask.actor, to_text(words), None, ask.key)
            modes[uuid] = self._wanted(ask)
        elif ask.key is not None:
            entry = unchanged_entry(uuid, revision, kind, ask.actor, words, ask.key)
        else:
            return None
        self.records.commit([entry], {}, drift_modes=modes)
        if ask.key is not None:
            keys[ask.key] = entry
        return None

    def end_old(self) -> None:
        """Drop the modes whose time is over, and carry the others over a reboot of the host.

        Raises LedgerError, and the next poll tries again.
        """
        now, changed, entries = self._now, dict[str, SetMode | None](), list[Entry]()
        for uuid, found in self.records.drift_modes.items():
            if is_over(found, now):
                record = self.records.get(uuid)
                revision = 0 if record is None else record.revision
                words = to_text({"mode": found.mode})
                entries.append(
                    Entry(uuid, revision, EntryKind.DRIFT_MODE_ENDED, DAEMON, words, None)
                )
                changed[uuid] = None
            elif found.since.boot != now.boot:
                changed[uuid] = carried(found, now)
        if changed:
            self.records.commit(entries, {}, drift_modes=changed)

    @property
    def _now(self) -> Instant:
        return Instant(self.boot, self.clock.monotonic_s(), self.clock.wall_ns())

    def _set_mode(self, uuid: str) -> SetMode | None:
        found = self.records.drift_modes.get(uuid)
        return None if found is None or is_over(found, self._now) else found

    def _wanted(self, ask: DriftRequest) -> SetMode | None:
        if ask.mode is None:
            return None
        now = self._now
        seconds = None if ask.for_s is None else float(ask.for_s)
        return SetMode(ask.mode, seconds, now, now.wall_ns, ask.actor, ask.reason)


def _uuid_of(seen: Found) -> str | None:
    return seen.instance.uuid if isinstance(seen, Observation) else seen.uuid


def _kind(ask: DriftRequest) -> EntryKind:
    return EntryKind.DRIFT_MODE_SET if ask.mode else EntryKind.DRIFT_MODE_CLEARED


def _words(ask: DriftRequest) -> dict[str, object]:
    """Return what the history keeps of a request."""
    words: dict[str, object] = {} if ask.mode is None else {"mode": ask.mode}
    if ask.for_s is not None:
        words["for_s"] = ask.for_s
    if ask.reason:
        words["reason"] = ask.reason
    return words
