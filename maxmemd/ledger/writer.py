"""The only connection that writes: each batch is one transaction and one fsync."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from maxmemd.ledger import history
from maxmemd.ledger.anchor import check_rows
from maxmemd.ledger.connection import WritingConnection
from maxmemd.ledger.heads import Head, Heads
from maxmemd.ledger.high_water import HighWaterMark
from maxmemd.ledger.integrity import (
    sealed,
    sealed_text,
)
from maxmemd.ledger.loading import load
from maxmemd.ledger.place import Place
from maxmemd.ledger.pruning import Pruner
from maxmemd.ledger.pushes import write_pushes
from maxmemd.ledger.rows import as_entry, as_record
from maxmemd.ledger.schema import (
    GENESIS,
    HASHED,
    as_ledger_errors,
    chain_hash,
)
from maxmemd.ledger.statements import (
    BY_KEYS,
    DROP_DRIFT_MODE,
    DROP_INSTANCE,
    ENTRIES,
    INSTANCES,
    SET_DRIFT_MODE,
    SET_NAME,
)
from maxmemd.policy.codec import (
    drift_mode_to_text,
)
from maxmemd.policy.components import Record
from maxmemd.policy.drift import SetMode
from maxmemd.policy.entries import Entry, InstanceRow, PushRow, Snapshot
from maxmemd.policy.retention import Retention
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
            loaded = load(self._connection, self._high_water.read())
        self._seq, self._newest_hash = loaded.newest
        self._heads.load(loaded.standing)
        self._high_water.write(self._seq, self._newest_hash)
        return loaded.snapshot

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

    def by_age(self, uuids: Sequence[str]) -> list[str]:
        """Return domains, all with a record, by their newest entries: the oldest first."""
        with as_ledger_errors(self._path, "look domains up"), self._connection.begin():
            heads = self._heads.find(self._connection, uuids)
        return sorted(uuids, key=lambda uuid: heads[uuid].newest)

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
