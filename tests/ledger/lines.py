"""Lines for ledgers, and a ledger whose database is migrated."""

import json
from pathlib import Path
from typing import Any

from maxmemd.ledger.migrate import migrate
from maxmemd.ledger.reader import Page, ReadPage
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.policy.codec import state_to_json
from maxmemd.policy.components import MAX_MEM, Component, Record
from maxmemd.policy.entries import Entry, InstanceRow, PushRow
from maxmemd.policy.states import PushState
from maxmemd.units import Memory
from tests.support.ledgers import new_ledger

UUID = "51a70000-0000-4000-8000-000000000001"
OTHER = "51a70000-0000-4000-8000-000000000002"
AT_NS = 1_800_000_000_000_000_000


def record(revision: int, uuid: str = UUID) -> Record:
    """Return a record whose limit is its revision in MiB."""
    return Record(uuid, revision, {MAX_MEM: Component(Memory.of_mib(revision), revision)})


def entry(revision: int, uuid: str = UUID, key: str | None = None) -> Entry:
    """Return the entry that makes that record."""
    state = json.dumps(state_to_json(record(revision, uuid)), separators=(",", ":"))
    return Entry(uuid, revision, "mem-max", "{}", '{"max_mem_kib":0}', state, key)


def note(revision: int, uuid: str = UUID) -> Entry:
    """Return an entry that changes no record."""
    return Entry(uuid, revision, "refused", "{}", "{}", None)


def instance(incarnation: int, *, ended_ns: int | None = None, uuid: str = UUID) -> InstanceRow:
    """Return the row of an instance."""
    domid = 10 + incarnation
    return InstanceRow(
        uuid,
        domid,
        incarnation,
        "boot-1",
        AT_NS,
        ended_ns,
        PushState.APPLIED,
        1,
        '{"target_kib":4}',
    )


BUILD = '{"phase":"undecided","toolstack_pages":16640,"pushed_pages":8320}'


def push(revision: int, errno: int | None = None) -> PushRow:
    """Return a push."""
    seen = None if errno else 256
    return PushRow(AT_NS, UUID, 11, 1, revision, 256, seen, errno)


def opened(path: Path, *, busy_ms: int = 1000) -> SqliteLedger:
    """Open the ledger at a path, migrated and loaded."""
    migrate(new_ledger(path))
    ledger = SqliteLedger(path, busy_ms=busy_ms)
    ledger.load()
    return ledger


def page_of(read: ReadPage, uuid: str, *, limit: int, before: int | None = None) -> Page:
    """Return a page in which each entry or push is its number."""
    return read(uuid, lambda row: b"%d" % row[0], limit=limit, before=before)


def seqs_of(read: ReadPage, uuid: str, *, limit: int, before: int | None = None) -> list[int]:
    """Return the numbers of the entries or pushes on a page."""
    return [int(number) for number in page_of(read, uuid, limit=limit, before=before).items]


def rows_of(read: ReadPage, uuid: str) -> list[Any]:
    """Return all entries or pushes of a domain, newest first, page after page."""
    rows: list[Any] = []

    def keep(row: Any) -> bytes:
        rows.append(row)
        return b""

    before = None
    while True:
        before = read(uuid, keep, limit=500, before=before).next_before
        if before is None:
            return rows
