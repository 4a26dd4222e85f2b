"""The only connection that writes: each batch is one transaction and one fsync."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from maxmemd.errors import LedgerBusy, LedgerCorrupt
from maxmemd.ledger import history
from maxmemd.ledger.high_water import HighWaterMark
from maxmemd.ledger.integrity import (
    check_entries,
    check_entry,
    check_newest,
    sealed,
    sealed_text,
    unsealed,
    unsealed_text,
)
from maxmemd.ledger.schema import (
    DRIFT_MODE,
    GENESIS,
    HASHED,
    HISTORY,
    INSTANCE,
    PUSH,
    RECORD,
    as_ledger_errors,
    chain_hash,
    engine,
)
from maxmemd.ledger.statements import (
    BY_KEYS,
    DRIFT_MODES,
    DROP_DRIFT_MODE,
    ENDED,
    ENTRIES,
    HEADS,
    HEADS_AND_NEWEST,
    INSTANCES,
    LAGGING_HEADS,
    NAMES,
    PUSHES,
    SET_DRIFT_MODE,
    SET_NAME,
    SOME_HEADS_AND_NEWEST,
)
from maxmemd.policy.codec import (
    drift_mode_from_text,
    drift_mode_to_text,
    ending_from_json,
    from_text,
    record_from_text,
)
from maxmemd.policy.components import Record
from maxmemd.policy.drift import SetMode
from maxmemd.policy.endings import UNSEEN, Ending
from maxmemd.policy.entries import Entry, InstanceRow, PushRow, Snapshot
from maxmemd.policy.states import PushState
from maxmemd.ports import NO_MODES, NO_NAMES

_STORED = Entry._fields.index("at_ns")
_NONE: tuple[int | None, int] = (None, 0)


class SqliteLedger:
    """The ledger in a SQLite file with current tables (see `migrate`).

    Used from one thread. Every method raises LedgerError; after an error in `commit` the batch is
    not committed, and the caller must `reopen` and `load` before the next one.
    """

    def __init__(self, path: Path, *, busy_ms: int = 1000) -> None:
        self._path = path
        self._engine = engine(path, busy_ms=busy_ms)
        self._seq = 0
        self._newest_hash = GENESIS
        self._heads: dict[str, tuple[int | None, int]] = {}
        with as_ledger_errors(path, f"open the ledger {path}"):
            self._connection = self._engine.connect()
        self._high_water = HighWaterMark(path)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        self._high_water.close()

    def reopen(self) -> None:
        """Open a new connection, and checkpoint the whole WAL into the database file.

        After a failed fsync the kernel may mark pages clean that never reached the disk. The
        checkpoint writes and syncs them again, so that later commits do not depend on them.
        """
        with as_ledger_errors(self._path, f"open the ledger {self._path} again"):
            self._connection.close()
            self._connection = self._engine.connect()
            driver: Any = self._connection.connection.driver_connection
            busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise LedgerBusy(f"cannot open the ledger {self._path} again: a reader holds its WAL")

    def load(self) -> Snapshot:
        """Return the current state, after checking every entry that a record follows from.

        Raises LedgerCorrupt if such an entry, or one of the newest, is not as it was written, if an
        entry is missing, or if a table does not follow from the history.
        """
        with as_ledger_errors(self._path, "read the ledger"), self._connection.begin():
            newest = self._connection.execute(
                sa.select(HISTORY).order_by(HISTORY.c.seq.desc()).limit(1000)
            ).all()
            heads = self._connection.execute(
                sa.select(HISTORY, RECORD.c.observed).join(
                    RECORD, (RECORD.c.head == HISTORY.c.seq) & (RECORD.c.uuid == HISTORY.c.uuid)
                )
            ).all()
            stands = self._connection.execute(
                HEADS_AND_NEWEST.where(RECORD.c.head.is_not(None))
            ).all()
            instances = self._connection.execute(
                sa.select(INSTANCE).where(INSTANCE.c.ended_ns.is_(None))
            ).all()
            incarnations = self._connection.execute(
                sa.select(INSTANCE.c.uuid, sa.func.max(INSTANCE.c.incarnation)).group_by(
                    INSTANCE.c.uuid
                )
            ).all()
            ended = self._connection.execute(ENDED).all()
            names = self._connection.execute(NAMES).all()
            modes = self._connection.execute(DRIFT_MODES).all()
            pushes = self._connection.scalar(sa.select(sa.func.max(PUSH.c.id))) or 0
            self._check_heads(heads)
            self._check_rows(ended)
            self._check_tables()
        check_entries(list(reversed(newest)))
        if len(heads) != len(stands):
            raise LedgerCorrupt("cannot trust the ledger: the entry of a record is missing")
        check_newest(newest, {uuid: last for uuid, _, last in stands})
        self._seq, self._newest_hash = (newest[0].seq, newest[0].hash) if newest else (0, GENESIS)
        self._heads = {uuid: (seq, last) for uuid, seq, last in stands}
        # Records with something decided that wait for an instance, or for theirs to be settled.
        records = tuple(as_standing_record(head) for head in heads)
        settled = {row.uuid for row in instances if row.build is None}
        settled |= {record.uuid for record in records if not record.decided}
        awaiting = {uuid: seq for uuid, seq, _ in stands if uuid not in settled}
        self._high_water.write(self._seq, self._newest_hash)
        return Snapshot(
            records,
            tuple(as_instance(row) for row in instances),
            dict(incarnations),
            endings_of(ended, awaiting),
            (self._seq, pushes),
            {row.uuid: as_drift_mode(row) for row in modes},
            {uuid: unsealed_text(name, f"the name of {uuid}") for uuid, name in names},
        )

    def _check_heads(self, heads: Sequence[sa.Row[Any]]) -> None:
        """Check each record's entry against the hash of the entry before it."""
        before = HISTORY.alias("before")
        rows = self._connection.execute(
            sa.select(RECORD.c.head, before.c.hash).join(before, before.c.seq == RECORD.c.head - 1)
        ).all()
        hashes: dict[int, bytes] = dict(rows)
        for head in heads:
            check_entry(hashes.get(head.seq, GENESIS), head)

    def _check_tables(self) -> None:
        """Check the tables that follow from the history, and that no newest entry is missing."""
        known = self._high_water.read()
        if known is not None and known[0] > 0:
            seq, newest_hash = known
            found = self._connection.scalar(sa.select(HISTORY.c.hash).where(HISTORY.c.seq == seq))
            if found != newest_hash:
                raise LedgerCorrupt(
                    f"cannot trust the ledger: entry {seq} was written but is missing"
                    " (see docs/recovery.md)"
                )
        behind = self._connection.scalar(LAGGING_HEADS)
        if behind is not None:
            raise LedgerCorrupt(f"cannot trust the ledger: the record of {behind} is not the last")
        for table in (RECORD, INSTANCE, DRIFT_MODE):
            query = f"PRAGMA integrity_check({table.name})"
            found = self._connection.exec_driver_sql(query).scalar()
            if found != "ok":
                raise LedgerCorrupt(f"cannot trust the ledger: table {table.name}: {found}")

    def _check_rows(self, rows: Sequence[sa.Row[Any]]) -> None:
        """Check some entries, each against the hash of the entry before it."""
        seqs = [row.seq - 1 for row in rows]
        before = sa.select(HISTORY.c.seq, HISTORY.c.hash).where(HISTORY.c.seq.in_(seqs))
        hashes: dict[int, bytes] = dict(self._connection.execute(before).all()) if rows else {}
        for row in rows:
            check_entry(hashes.get(row.seq - 1, GENESIS), row)

    def commit(
        self,
        at_ns: int,
        entries: Sequence[Entry],
        *,
        instances: Sequence[InstanceRow] = (),
        pushes: Sequence[PushRow] = (),
        forgotten: Sequence[str] = (),
        names: Mapping[str, str] = NO_NAMES,
        drift_modes: Mapping[str, SetMode | None] = NO_MODES,
    ) -> None:
        """Write a batch in one transaction; it is on the disk when this returns."""
        with as_ledger_errors(self._path, "write the ledger"), self._connection.begin():
            heads = self._known_heads([*(entry.uuid for entry in entries), *forgotten])
            rows = self._chain(at_ns, entries, heads)
            heads.update((uuid, (None, heads[uuid][1])) for uuid in forgotten)
            if rows:
                ENTRIES.run(self._connection, rows)
            if heads:
                HEADS.run(self._connection, [(uuid, *head) for uuid, head in heads.items()])
            if instances:
                INSTANCES.run(self._connection, [INSTANCES.of(sealed(row)) for row in instances])
            if pushes:
                PUSHES.run(self._connection, _placed(pushes, self._seq + len(rows)))
            if names:
                rows_of_names = [
                    {"uuid_": uuid, "name_": sealed_text(name)} for uuid, name in names.items()
                ]
                self._connection.execute(SET_NAME, rows_of_names)
            for uuid, mode in drift_modes.items():
                self._write_drift_mode(uuid, mode)
        self._heads.update(heads)
        for uuid in forgotten:
            del self._heads[uuid]
        if rows:
            self._seq, self._newest_hash = rows[-1][0], rows[-1][HASHED]
            self._high_water.write(self._seq, self._newest_hash)

    def _write_drift_mode(self, uuid: str, mode: SetMode | None) -> None:
        if mode is None:
            self._connection.execute(DROP_DRIFT_MODE, {"uuid_": uuid})
        else:
            text = sealed_text(drift_mode_to_text(mode))
            self._connection.execute(SET_DRIFT_MODE, {"uuid_": uuid, "mode_": text})

    def _known_heads(self, uuids: Sequence[str]) -> dict[str, tuple[int | None, int]]:
        """Return the head and the newest entry of each domain; (None, 0) if it has none."""
        heads = {uuid: self._heads.get(uuid, _NONE) for uuid in uuids}
        unknown = [uuid for uuid, head in heads.items() if head is _NONE]
        if unknown:
            rows = self._connection.execute(SOME_HEADS_AND_NEWEST, {"uuids": unknown})
            heads.update((uuid, (head, newest)) for uuid, head, newest in rows)
        return heads

    def _chain(
        self,
        at_ns: int,
        entries: Sequence[Entry],
        heads: dict[str, tuple[int | None, int]],
    ) -> list[tuple[Any, ...]]:
        """Return entries as rows of the history; update `heads`."""
        seq, before = self._seq, self._newest_hash
        rows = []
        for entry in entries:
            seq += 1
            row = (seq, at_ns if entry.at_ns is None else entry.at_ns, *entry[:_STORED])
            before = chain_hash(before, row)
            stands, prior = heads[entry.uuid]
            rows.append((*row, before, prior))
            heads[entry.uuid] = (seq if entry.state is not None else stands, seq)
        return rows

    def by_keys(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return the entries with these idempotency keys."""
        with as_ledger_errors(self._path, "look idempotency keys up"), self._connection.begin():
            rows = self._connection.execute(BY_KEYS, {"keys": list(keys)}).all()
            self._check_rows(rows)
        return {row.key: as_entry(row) for row in rows}

    def newest_of(self, uuids: Sequence[str]) -> str:
        """Return the domain among these, all with a record, that the newest entry is about."""
        return max(uuids, key=lambda uuid: self._heads[uuid][1])

    def record_at(self, uuid: str, revision: int) -> Record | None:
        """Return a record at one of its revisions; None if there is no such revision.

        A forgotten record begins again at revision 1; this finds the newer entry.
        """
        wanted = history.revision_entries(uuid, revision).where(HISTORY.c.revision == revision)
        with as_ledger_errors(self._path, "read the history"), self._connection.begin():
            row = self._connection.execute(wanted).first()
            self._check_rows([] if row is None else [row])
        return None if row is None else as_record(row)


def _placed(pushes: Sequence[PushRow], newest: int) -> list[PushRow]:
    """Return pushes that come after an entry that exists: of notes that were lost none does."""
    return [
        push if push.after_seq is None else push._replace(after_seq=min(push.after_seq, newest))
        for push in pushes
    ]


def as_entry(row: sa.Row[Any]) -> Entry:
    """Return the entry that a row of the history was written from."""
    return Entry(row.uuid, row.revision, row.kind, row.actor, row.wish, row.state, row.key)


def as_instance(row: sa.Row[Any]) -> InstanceRow:
    """Return the instance that a row was written from. Raises LedgerCorrupt."""
    try:
        kept = InstanceRow(**row._asdict())
        return unsealed(kept._replace(push_state=PushState(row.push_state)))
    except ValueError as error:
        raise LedgerCorrupt(f"cannot read an instance of {row.uuid}: {error}") from error


def endings_of(ended: Sequence[sa.Row[Any]], heads: Mapping[str, int]) -> dict[str, Ending]:
    """Return how each UUID's last instance ended, where a reason was seen.

    A record whose entry in `heads` is newer than the end was decided on for the next start.
    """
    endings = {}
    for row in ended:
        ending = ending_from_json(from_text(row.wish))
        if heads.get(row.uuid, 0) > row.seq:
            ending = (ending or UNSEEN)._replace(decided_ahead=True)
        if ending is not None:
            endings[row.uuid] = ending
    return endings


def as_standing_record(row: sa.Row[Any]) -> Record:
    """Return the record in its newest entry, with what that may not say. Raises LedgerCorrupt."""
    record, text = as_record(row), None
    if row.observed is not None:
        text = unsealed_text(row.observed, f"what was observed of {row.uuid}")
    if text is None or "observed" in from_text(row.state):
        return record
    return replace(record, observed=frozenset((owner, name) for owner, name in from_text(text)))


def as_drift_mode(row: sa.Row[Any]) -> SetMode:
    """Return the mode that a row was written from. Raises LedgerCorrupt."""
    whose = f"the mode of drift of {row.uuid}"
    try:
        return drift_mode_from_text(unsealed_text(row.mode, whose))
    except (ValueError, TypeError) as error:
        raise LedgerCorrupt(f"cannot read {whose}: {error}") from error


def as_record(row: sa.Row[Any]) -> Record:
    """Return the record in a row of the history. Raises LedgerCorrupt."""
    try:
        return record_from_text(row.uuid, row.revision, row.state)
    except (ValueError, TypeError, KeyError) as error:
        raise LedgerCorrupt(f"cannot read entry {row.seq} of the history: {error}") from error
