"""What is wrong with a ledger: gaps, edits and flipped bits in what was read from it."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from maxmemd.errors import LedgerCorrupt
from maxmemd.ledger.schema import GENESIS, HASHED, chain_hash
from maxmemd.policy.entries import InstanceRow


def sealed(row: InstanceRow) -> InstanceRow:
    """Return an instance as it is written: no chain covers it, so what it will do is sealed."""
    if row.effects is None and row.build is None:
        return row
    return row._replace(effects=_seal(row.effects), build=_seal(row.build))


def _seal(text: str | None) -> str | None:
    return None if text is None else f"{zlib.crc32(text.encode()):08x} {text}"


def _without_seal(text: str | None) -> str | None:
    return None if text is None else text.partition(" ")[2]


def unsealed(row: InstanceRow) -> InstanceRow:
    """Return an instance as it was before it was sealed. Raises LedgerCorrupt."""
    if row.effects is None and row.build is None:
        return row
    opened = row._replace(effects=_without_seal(row.effects), build=_without_seal(row.build))
    if sealed(opened) != row:
        raise LedgerCorrupt(
            f"cannot trust the ledger: what is open for {row.uuid} is not as it was written"
            " (see docs/recovery.md)"
        )
    return opened


def check_entry(before: bytes, row: sa.Row[Any]) -> None:
    """Raise LedgerCorrupt unless the row is what was chained to `before`."""
    if chain_hash(before, tuple(row)[:HASHED]) != row.hash:
        raise LedgerCorrupt(
            f"cannot trust the ledger: entry {row.seq} is not as it was written"
            " (restore the newest backup beside the database, or see docs/recovery.md)"
        )


def check_priors(rows: Sequence[sa.Row[Any]], newest: dict[str, int]) -> None:
    """Check that each entry names the one before it of its domain, and bring `newest` up to it."""
    for row in rows:
        before = newest.get(row.uuid, 0)
        if row.prior != before:
            raise LedgerCorrupt(
                f"cannot trust the ledger: entry {row.seq} follows entry {before} of its domain,"
                f" and names {row.prior} (see docs/recovery.md)"
            )
        newest[row.uuid] = row.seq


def check_newest(rows: Sequence[sa.Row[Any]], known: Mapping[str, int]) -> None:
    """Check that no row, newest first, is newer than what is known as its domain's newest entry."""
    newest = {row.uuid: row.seq for row in reversed(rows)}
    for uuid, last in known.items():
        if newest.get(uuid, last) != last:
            raise LedgerCorrupt(
                f"cannot trust the ledger: entry {newest[uuid]} of {uuid} is not its newest"
            )


def check_entries(
    rows: Sequence[sa.Row[Any]], before: bytes | None = None, after: int | None = None
) -> None:
    """Check a run of entries for gaps, edits and flipped bits.

    `before` is the hash of entry `after`, which the run follows; without them the first row is
    taken as it is, unless it is the very first entry.
    """
    for row in rows:
        if after is not None and row.seq != after + 1:
            raise LedgerCorrupt(f"cannot trust the ledger: entry {after + 1} is missing")
        expected = GENESIS if row.seq == 1 else before
        if expected is not None:
            check_entry(expected, row)
        before, after = row.hash, row.seq
