"""The canonical records in memory, always exactly as the ledger has them committed.

After a failed commit it is not known what the file holds: until `make_certain` has read it again,
nothing may be decided and nothing is written.
"""

from collections import Counter
from collections.abc import Container, Iterator, KeysView, Mapping, Sequence
from contextlib import contextmanager

from maxmemd.arbiter.entries import DAEMON, client_of
from maxmemd.arbiter.event_log import log_event
from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.instance_rows import row_of
from maxmemd.arbiter.last_names import LastNames
from maxmemd.arbiter.notes import NoteQueue
from maxmemd.errors import LedgerBusy, LedgerCorrupt, LedgerError, LedgerMoved
from maxmemd.histogram import SECONDS, Histogram
from maxmemd.policy.codec import from_text, to_text
from maxmemd.policy.components import Record
from maxmemd.policy.drift import SetMode
from maxmemd.policy.entries import Entry, InstanceRow, PushRow, Snapshot
from maxmemd.policy.kinds import EntryKind
from maxmemd.policy.retention import Retention
from maxmemd.ports import NO_MODES, NO_NAMES, Clock, Ledger


class Records:
    """The records, and the notes that wait for the next transaction. One thread's."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._records: dict[str, Record] = {}
        self._clients: dict[str, str] = {}
        self.drift_modes: dict[str, SetMode] = {}
        """The modes of drift that clients set, by UUID, as committed."""
        self.notes = NoteQueue(clock)
        self._names = LastNames({})
        self._new_names: dict[str, str] = {}
        self._extent = (0, 0)
        self._stale = False
        self.trouble: LedgerError | None = None
        self.commits = 0
        self.generation = 0
        """Grows when a record may have been dropped: until then a revision is one entry."""
        self.took_s = Histogram(SECONDS)

    def load(self) -> Snapshot:
        """Read the ledger and return what it holds. Raises LedgerError."""
        kept = self._ledger.load()
        self._records = {record.uuid: record for record in kept.records}
        self._clients = {uuid: client_of(actor) for uuid, actor in kept.actors.items()}
        self._names = LastNames({**kept.names, **self._new_names})
        self.drift_modes = dict(kept.drift_modes)
        self._extent = kept.extent
        self.generation += 1
        return kept

    def __len__(self) -> int:
        return len(self._records)

    def get(self, uuid: str) -> Record | None:
        """Return a domain's record as committed."""
        return self._records.get(uuid)

    def uuids(self) -> KeysView[str]:
        """Return every UUID that has a record."""
        return self._records.keys()

    def gone_of(self, alive: Container[str]) -> Counter[str]:
        """Count the records of domains that are not alive, by the client who decided on them last.

        The daemon counts as a client.
        """
        gone = [uuid for uuid in self._records if uuid not in alive]
        return Counter(self._clients[uuid] for uuid in gone)

    def name_of(self, uuid: str) -> str | None:
        """Return the last name that a domain had; None once another one took it over."""
        return self._names.get(uuid) or None

    def named(self, text: str) -> list[str]:
        """Return the UUIDs whose records have this last name."""
        return [uuid for uuid in self._names.called(text) if uuid in self._records]

    def by_age(self, uuids: Sequence[str]) -> list[str]:
        """Return domains, all with a record, by their newest entries, written or waiting.

        The oldest first. Raises LedgerError.
        """
        waiting = {entry.uuid: number for number, entry in enumerate(self.notes.entries)}
        with self._troubled():
            written = self._ledger.by_age(uuids)
        return sorted(written, key=lambda uuid: waiting.get(uuid, -1))

    def note_name(self, uuid: str, name: str) -> None:
        """Keep a domain's name, where it is a new one, with the next transaction."""
        if self._names.get(uuid) != name:
            self._names.update({uuid: name})
            self._new_names[uuid] = name

    def at(self, uuid: str, revision: int) -> Record | None:
        """Return a record as it was at a revision. Raises LedgerError."""
        with self._troubled():
            return self._ledger.record_at(uuid, revision)

    def prune(self, rule: Retention, now_ns: int) -> bool:
        """Delete a stride of old entries; return whether there may be more. Raises LedgerError.

        An old entry that is damaged is no trouble of what is written.
        """
        with self._troubled():
            try:
                return self._ledger.prune(rule, now_ns)
            except LedgerCorrupt as error:
                damage = error
        raise damage

    def by_keys(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return what was granted under these idempotency keys. Raises LedgerError."""
        if not keys:
            return {}
        with self._troubled():
            return self._ledger.by_keys(keys)

    def note(self, uuid: str, kind: EntryKind, words: Mapping[str, object]) -> None:
        """Keep an entry that changes no record; it is written with the next transaction.

        It is what the daemon saw or did by itself, and is in journald at once.
        """
        log_event(uuid, kind, words)
        self.notes.add([*self.notes.repeats.flush(uuid), self._entry(uuid, kind, words, DAEMON)])

    def note_refusal(self, uuid: str, wish: object, actor: str) -> None:
        """Keep a refusal likewise, or count it where it repeats one of the same domain."""
        refusal = self._entry(uuid, EntryKind.REFUSED, wish, actor)
        self.notes.add(self.notes.repeats.add(refusal, self._clock.monotonic_s()))

    def note_old_repeats(self) -> None:
        """Note how often refusals were repeated whose window is over."""
        self.notes.add(self.notes.repeats.flush_old(self._clock.monotonic_s()))

    def note_all_repeats(self) -> None:
        """Note how often refusals were repeated, and begin to count again."""
        self.notes.add(self.notes.repeats.flush_all())

    def _entry(self, uuid: str, kind: EntryKind, wish: object, actor: str) -> Entry:
        record = self._records.get(uuid)
        revision = 0 if record is None else record.revision
        return Entry(uuid, revision, kind, actor, to_text(wish), None)

    def note_push(self, row: PushRow) -> None:
        """Keep a push; it is written with the next transaction, after the notes that it follows."""
        self.notes.add_push(row, self._extent[0])

    def note_instance(self, instance: Instance, ended_ns: int | None = None) -> None:
        """Keep what an instance is now; the last of these is written with the next transaction."""
        self.notes.add_rows([row_of(instance, ended_ns=ended_ns)])

    def last_incarnation(self, uuid: str) -> int:
        """Return the last incarnation of a domain, written or waiting; 0 if it had none here.

        Raises LedgerError.
        """
        with self._troubled():
            return max(self._ledger.last_incarnation(uuid), self.notes.last_incarnation(uuid))

    def forget_name(self, uuid: str) -> None:
        """Forget the name of a domain that ended without a record."""
        if uuid not in self._records:
            self._names.forget(uuid)
            self._new_names.pop(uuid, None)

    def note_pushed(self, instance: Instance) -> None:
        """Keep what an instance will be at the next `flush`: its last push of many counts."""
        self.notes.pushed.add(instance)

    def flush(self) -> None:
        """Write all notes, if there are any. Raises LedgerError, and they go on waiting."""
        self.notes.add_pushed()
        if self.has_notes:
            self.commit([], {})

    @property
    def has_notes(self) -> bool:
        """Whether notes wait to be written."""
        return bool(self.notes or self._new_names)

    def commit(
        self,
        entries: Sequence[Entry],
        records: Mapping[str, Record],
        *,
        instances: Sequence[InstanceRow] = (),
        forgotten: Sequence[str] = (),
        names: Mapping[str, str] = NO_NAMES,
        drift_modes: Mapping[str, SetMode | None] = NO_MODES,
    ) -> None:
        """Write entries and all notes in one transaction; durable when this returns.

        Raises LedgerError, and then none of `records` holds; the notes go on waiting.
        """
        start_s = self._clock.monotonic_s()
        names = {**self._names_before(records), **self._new_names, **names}
        self.notes.end_repeats(entry.uuid for entry in entries)
        with self._troubled():
            notes = self.notes.take()
            self._ledger.commit(
                self._clock.wall_ns(),
                [*notes.entries, *entries],  # notes are older
                instances=[*notes.instances, *instances],
                pushes=notes.pushes,
                forgotten=forgotten,
                names=names,
                drift_modes=drift_modes,
            )
        # Only now does anything of it hold; had it raised, the notes would wait on, and whether
        # the file has the entries would be for `make_certain` to find out.
        self.trouble = None
        self.notes.on_written()
        self._new_names = {}
        seq, push = self._extent
        self._extent = (seq + len(notes.entries) + len(entries), push + len(notes.pushes))
        self._hold(records, entries, names)
        self._set_modes(drift_modes)
        self._forget(forgotten)
        self.commits += 1
        self.took_s.observe(self._clock.monotonic_s() - start_s)

    def _hold(
        self, records: Mapping[str, Record], entries: Sequence[Entry], names: Mapping[str, str]
    ) -> None:
        """Keep in memory what was committed, and log what the daemon decided by itself."""
        self._records.update(records)
        self._names.update(names)
        self._clients |= {entry.uuid: client_of(entry.actor) for entry in entries if entry.state}
        for entry in entries:
            if entry.actor == DAEMON:
                log_event(entry.uuid, entry.kind, from_text(entry.wish))

    def _names_before(self, records: Mapping[str, Record]) -> dict[str, str]:
        """Return the names that domains had before there was a record of them."""
        new = records.keys() - self._records.keys()
        return {uuid: self._names[uuid] for uuid in new if uuid in self._names}

    def _set_modes(self, modes: Mapping[str, SetMode | None]) -> None:
        for uuid, mode in modes.items():
            if mode is None:
                self.drift_modes.pop(uuid, None)
            else:
                self.drift_modes[uuid] = mode

    def _forget(self, uuids: Sequence[str]) -> None:
        for uuid in uuids:
            self._records.pop(uuid, None)
            self._clients.pop(uuid, None)
            self._names.forget(uuid)
        self.generation += len(uuids)

    def make_certain(self) -> list[InstanceRow]:
        """Check that the ledger's file is in its place; after a failed commit, read what it kept.

        To be called before anything is decided. Returns the instances of the domains whose
        decision was kept after all, as they were kept with it. Raises LedgerError.
        """
        if not self._stale and self._is_in_place():
            return []
        # What is in memory is as it was before that commit, for `commit` changes it only on
        # success. So a ledger that has grown shows that all of the commit was kept, the notes with
        # it: they must not be written twice. What was noted since is not in the file.
        before, extent = self._records, self._extent
        with self._troubled(reading_again=True):
            self._ledger.reopen()
            kept = self.load()
        self._stale = False
        moved = {
            record.uuid
            for record in kept.records
            if record.uuid not in before or before[record.uuid].revision != record.revision
        }
        if kept.extent != extent:
            self.notes.on_written()
        return [row for row in kept.instances if row.uuid in moved]

    def _is_in_place(self) -> bool:
        """Whether the ledger's path names its file; if not, it is to be opened again."""
        try:
            with self._troubled():
                self._ledger.check_place()
        except LedgerMoved:
            return False
        return True

    def close(self) -> None:
        """Write the notes a last time, and close the ledger. Raises LedgerError."""
        try:
            self.flush()
        finally:
            self._ledger.close()

    @contextmanager
    def _troubled(self, *, reading_again: bool = False) -> Iterator[None]:
        """Remember trouble with the ledger; nothing touches it until it has been read again."""
        if self._stale and not reading_again and self.trouble is not None:
            raise self.trouble
        try:
            yield
        except LedgerError as error:
            self._stale = self._stale or not isinstance(error, LedgerBusy)
            self.trouble = error
            raise
