"""What a ledger's file holds, read without the arbiter, and whether it is consistent."""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from maxmemd.ledger.reader import LedgerReader
from maxmemd.policy.codec import record_from_state
from maxmemd.policy.components import Record


class Line(NamedTuple):
    """A decision in the history: its record's UUID and revision, the limit then, and its seq."""

    uuid: str
    revision: int
    limit_kib: int
    seq: int


@dataclass
class Kept:
    """The fold of the history. `limits` are in pages; `keys` are without the uid in front."""

    records: dict[str, Record] = field(default_factory=dict)
    keys: dict[str, Line] = field(default_factory=dict)
    lines: int = 0

    @property
    def limits(self) -> dict[str, int]:
        """The pages that Xen is to hold, by UUID."""
        return {uuid: record.limit.max_pages for uuid, record in self.records.items()}


def audit(path: Path, *, whole: bool = True) -> Kept:
    """Fold the history and demand that everything else in the file follows from it.

    Every revision follows on the one before; an increase adds to what was there; the records
    stand on the last lines of their domains; and, with `whole`, the chain of hashes and
    SQLite's own structure hold.
    """
    kept = Kept()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.execute("PRAGMA query_only=1")
        connection.execute("BEGIN")
        if whole:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        heads: dict[str, int | None] = {}
        for row in connection.execute(
            "SELECT seq, uuid, revision, kind, wish, state, key FROM history ORDER BY seq"
        ):
            kept.lines += 1
            _fold(kept, heads, row)
        assert dict(connection.execute("SELECT uuid, head FROM record")) == heads
    if whole:
        assert LedgerReader(path).check() >= kept.lines  # a daemon that runs may have written on
    return kept


def limits_of(path: Path) -> dict[str, int]:
    """Return the pages that each record of the file wants, by UUID."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT uuid, state FROM record JOIN history USING (uuid) WHERE seq = head"
        )
        return {u: record_from_state(u, 0, json.loads(state)).limit.max_pages for u, state in rows}


def _fold(kept: Kept, heads: dict[str, int | None], row: tuple[Any, ...]) -> None:
    seq, uuid, revision, kind, wish, state, key = row
    before = kept.records.get(uuid) or Record(uuid, 0, {})
    if kind == "forgotten":
        kept.records.pop(uuid, None)
        heads[uuid] = None
    if state is None:
        return
    assert revision == before.revision + 1, f"line {seq}: {uuid} went {before.revision}-{revision}"
    record = kept.records[uuid] = record_from_state(uuid, revision, json.loads(state))
    heads[uuid] = seq
    if kind == "component-increased":
        words: dict[str, Any] = json.loads(wish)
        part = (words["owner"], words["name"])
        old, new = before.amount(part), record.amount(part)
        assert new is not None
        assert new.kib == (0 if old is None else old.kib) + words["by_kib"], f"line {seq}: lost"
    if key is not None:
        kept.keys[key.partition(":")[2]] = Line(uuid, revision, record.limit_kib, seq)
