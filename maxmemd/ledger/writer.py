"""The only connection that writes: each batch is one transaction and one fsync."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from maxmemd.errors import LedgerCorrupt
from maxmemd.ledger import history
from maxmemd.ledger.anchor import Anchor, check_rows, read_anchor
from maxmemd.ledger.connection import WritingConnection
from maxmemd.ledger.heads import Head, Heads
from maxmemd.ledger.high_water import HighWaterMark
from maxmemd.ledger.integrity import (
    check_entries,
    check_newest,
    check_schema,
    sealed,
    sealed_text,
    unsealed,
    unsealed_text,
)
from maxmemd.ledger.place import Place
from maxmemd.ledger.pruning import Pruner
from maxmemd.ledger.pushes import write_pushes
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
)
from maxmemd.ledger.statements import (
    BY_KEYS,
    DRIFT_MODES,
    DROP_DRIFT_MODE,
    DROP_INSTANCE,
    ENDED,
    ENTRIES,
    INSTANCES,
    LAGGING_HEADS,
    NAMES,
    SCHEMA_NAMES,
    SET_DRIFT_MODE,
    SET_NAME,
    STANDING,
)
from maxmemd.policy.codec import (
    build_from_text,
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
from maxmemd.policy.retention import LEAST_KEPT, Retention
from maxmemd.policy.states import PushState
from maxmemd.ports import NO_MODES, NO_NAMES

_STORED = Entry._fields.index("at_ns")


class SqliteLedger:
    """The ledger in a SQLite file with current tables (see `migrate`).

    Used from one thread. Every method raises LedgerError; after an error in `commit` the batch is
    not committed, and the caller must `reopen` and `load` before the next one. `place` tells
    readers which file it has open.
    """

    def __init__(self, path: Path, *, busy_ms: int = 1000, place: Place | None = None) -> None:
        self._path = path
        self._seq = 0
        self._newest_hash = GENESIS
        self._heads = Heads()
        self._pruner = Pruner(self._heads)
        self._database = WritingConnection(path, busy_ms=busy_ms, place=place or Place())
        self._high_water = HighWaterMark(path)

    @property
    def _connection(self) -> sa.Connection:
        return self._database.connection

    def prune(self, rule: Retention, now_ns: int) -> bool:
        """Delete a stride of what is older than is kept; return whether there may be more."""
        with as_ledger_errors(self._path, "prune the ledger"):
            # SQLite would look through all records for each entry that is deleted. That none of
            # them follows from it is seen to, and looked at by each start.
            driver: Any = self._connection.connection.driver_connection
            driver.execute("PRAGMA foreign_keys=OFF")
            try:
                with self._connection.begin():
                    return self._pruner.stride(self._connection, rule, self._seq, now_ns)
            finally:
                driver.execute("PRAGMA foreign_keys=ON")

    def close(self) -> None:
        """Close the files; the database is whole without its WAL then."""
        try:
            self._database.close()
        finally:
            self._high_water.close()

    def check_place(self) -> None:
        """Raise LedgerMoved unless the ledger's path names the file that is open."""
        self._database.check_place()
        self._high_water.keep_in_place(self._seq, self._newest_hash)

    def reopen(self) -> None:
        """Open a new connection, and checkpoint the whole WAL into the database file."""
        self._database.reopen()

    def load(self) -> Snapshot:
        """Return the current state, after checking every entry that a record follows from.

        Raises LedgerCorrupt if such an entry, or one of the newest, is not as it was written, if an
        entry is missing, or if a table does not follow from the history.
        """
        with as_ledger_errors(self._path, "read the ledger"), self._connection.begin():
            anchor = read_anchor(self._connection)
            newest = self._connection.execute(
                sa.select(HISTORY)
                .where(HISTORY.c.seq > anchor.seq)
                .order_by(HISTORY.c.seq.desc())
                .limit(LEAST_KEPT)
            ).all()
            heads = self._connection.execute(
                sa.select(HISTORY, RECORD.c.observed).join(
                    RECORD, (RECORD.c.head == HISTORY.c.seq) & (RECORD.c.uuid == HISTORY.c.uuid)
                )
            ).all()
            stands = self._connection.execute(STANDING).all()
            instances = self._connection.execute(sa.select(INSTANCE)).all()
            ended = self._connection.execute(ENDED).all()
            names = self._connection.execute(NAMES).all()
            modes = self._connection.execute(DRIFT_MODES).all()
            pushes = self._connection.scalar(sa.select(sa.func.max(PUSH.c.id))) or 0
            check_rows(self._connection, heads)
            check_rows(self._connection, ended)
            self._check_tables(anchor)
        check_entries(list(reversed(newest)))
        if len(heads) != len(stands):
            raise LedgerCorrupt("cannot trust the ledger: the entry of a record is missing")
        standing = {row.uuid: Head(*row[1:]) for row in stands}
        check_newest(newest, {uuid: head.newest for uuid, head in standing.items()})
        self._seq, self._newest_hash = (newest[0].seq, newest[0].hash) if newest else (0, GENESIS)
        self._heads.load(standing)
        # Records with something decided that wait for an instance, or for theirs to be settled.
        records = tuple(as_standing_record(head) for head in heads)
        lives = tuple(as_instance(row) for row in instances)
        settled = {life.uuid for life in lives if build_from_text(life.build).has_settled}
        ended = [row for row in ended if row.uuid not in settled]
        settled |= {record.uuid for record in records if not record.decided}
        awaiting = {row.uuid: row.head for row in stands if row.uuid not in settled}
        self._high_water.write(self._seq, self._newest_hash)
        return Snapshot(
            records,
            lives,
            endings_of(ended, awaiting),
            (self._seq, pushes),
            {row.uuid: as_drift_mode(row) for row in modes},
            {uuid: unsealed_text(name, f"the name of {uuid}") for uuid, name in names},
            {head.uuid: head.actor for head in heads},
        )

    def _check_tables(self, anchor: Anchor) -> None:
        """Check the tables that follow from the history, and that no newest entry is missing."""
        check_schema(self._connection.scalars(SCHEMA_NAMES).all())
        known = self._high_water.read()
        if known is not None and known[0] > anchor.seq:
            seq, newest_hash = known
            found = self._connection.scalar(sa.select(HISTORY.c.hash).where(HISTORY.c.seq == seq))
            if found != newest_hash:
                raise LedgerCorrupt(
                    f"cannot trust the ledger: entry {seq} was written but is missing"
                    " (see docs/recovery.md)"
                )
        behind = self._connection.scalar(LAGGING_HEADS, {"anchor": anchor.seq})
        if behind is not None:
            raise LedgerCorrupt(f"cannot trust the ledger: the record of {behind} is not the last")
        for table in (RECORD, INSTANCE, DRIFT_MODE):
            query = f"PRAGMA integrity_check({table.name})"
            found = self._connection.exec_driver_sql(query).scalar()
            if found != "ok":
                raise LedgerCorrupt(f"cannot trust the ledger: table {table.name}: {found}")

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
        """Write a batch in one transaction; it is on the disk when this returns.

        Raises LedgerMoved if it was written to a file that the ledger's path does not name.
        """
        with as_ledger_errors(self._path, "write the ledger"), self._connection.begin():
            heads = self._heads_of(entries, instances, forgotten)
            rows = self._chain(at_ns, entries, heads)
            heads.update((uuid, heads[uuid]._replace(head=None)) for uuid in forgotten)
            if rows:
                ENTRIES.run(self._connection, rows)
            self._heads.write(self._connection, heads)
            self._write_instances(instances)
            if pushes:
                write_pushes(self._connection, pushes, self._seq + len(rows))
            if names:
                rows_of_names = [
                    {"uuid_": uuid, "name_": sealed_text(name)} for uuid, name in names.items()
                ]
                self._connection.execute(SET_NAME, rows_of_names)
            for uuid, mode in drift_modes.items():
                self._write_drift_mode(uuid, mode)
        self._heads.on_committed(heads)
        if rows:
            self._seq, self._newest_hash = rows[-1][0], rows[-1][HASHED]
            self._high_water.write(self._seq, self._newest_hash)
        self._database.check_place()

    def _write_drift_mode(self, uuid: str, mode: SetMode | None) -> None:
        if mode is None:
            self._connection.execute(DROP_DRIFT_MODE, {"uuid_": uuid})
        else:
            text = sealed_text(drift_mode_to_text(mode))
            self._connection.execute(SET_DRIFT_MODE, {"uuid_": uuid, "mode_": text})

    def _heads_of(
        self, entries: Sequence[Entry], instances: Sequence[InstanceRow], forgotten: Sequence[str]
    ) -> dict[str, Head]:
        """Return the heads that a commit changes, with the incarnations as they will be."""
        begun: dict[str, int] = {}
        for row in instances:
            known = self._heads.standing(row.uuid)
            if known is None or known.incarnation < row.incarnation:
                begun[row.uuid] = max(row.incarnation, begun.get(row.uuid, 0))
        uuids = [*(entry.uuid for entry in entries), *forgotten, *begun]
        heads = self._heads.find(self._connection, uuids)
        for uuid, incarnation in begun.items():
            last = max(incarnation, heads[uuid].incarnation)
            heads[uuid] = heads[uuid]._replace(incarnation=last)
        return heads

    def _write_instances(self, instances: Sequence[InstanceRow]) -> None:
        """Write the instances that go on; those that ended are not kept."""
        goes_on = [INSTANCES.of(sealed(row)) for row in instances if row.ended_ns is None]
        ended = [row for row in instances if row.ended_ns is not None]
        if goes_on:
            INSTANCES.run(self._connection, goes_on)
        if ended:
            named = [{"uuid_": row.uuid, "life": row.incarnation} for row in ended]
            self._connection.execute(DROP_INSTANCE, named)

    def _chain(
        self,
        at_ns: int,
        entries: Sequence[Entry],
        heads: dict[str, Head],
    ) -> list[tuple[Any, ...]]:
        """Return entries as rows of the history; update `heads`."""
        seq, before = self._seq, self._newest_hash
        rows = []
        for entry in entries:
            seq += 1
            row = (seq, at_ns if entry.at_ns is None else entry.at_ns, *entry[:_STORED])
            before = chain_hash(before, row)
            stands, prior, incarnation = heads[entry.uuid]
            rows.append((*row, before, prior))
            stands = seq if entry.state is not None else stands
            heads[entry.uuid] = Head(stands, seq, incarnation)
        return rows

    def by_keys(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return the entries with these idempotency keys."""
        with as_ledger_errors(self._path, "look idempotency keys up"), self._connection.begin():
            rows = self._connection.execute(BY_KEYS, {"keys": list(keys)}).all()
            check_rows(self._connection, rows)
        return {row.key: as_entry(row) for row in rows}

    def newest_of(self, uuids: Sequence[str]) -> str:
        """Return the domain among these, all with a record, that the newest entry is about."""
        with as_ledger_errors(self._path, "look domains up"), self._connection.begin():
            heads = self._heads.find(self._connection, uuids)
        return max(uuids, key=lambda uuid: heads[uuid].newest)

    def last_incarnation(self, uuid: str) -> int:
        """Return the last incarnation of a domain that was written; 0 if it had none here."""
        standing = self._heads.standing(uuid)
        if standing is not None:
            return standing.incarnation
        with as_ledger_errors(self._path, "look a domain up"), self._connection.begin():
            return self._heads.find(self._connection, [uuid])[uuid].incarnation

    def record_at(self, uuid: str, revision: int) -> Record | None:
        """Return a record at one of its revisions; None if there is no such revision.

        A forgotten record begins again at revision 1; this finds the newer entry.
        """
        with as_ledger_errors(self._path, "read the history"), self._connection.begin():
            row = history.revision_entry(self._connection, uuid, revision)
            check_rows(self._connection, [] if row is None else [row])
        return None if row is None else as_record(row)


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

    A record whose entry in `heads` is newer than the end was decided on for the next start. An end
    from before the record began says no more than that.
    """
    endings = {}
    for row in ended:
        ending = ending_from_json(from_text(row.wish)) if row.seq > row.began else None
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
