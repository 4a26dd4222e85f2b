"""Detect gaps, edits and flipped bits in what is read from the ledger."""

import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex

from maxmemd.errors import LedgerCorrupt
from maxmemd.ledger.schema import GENESIS, HASHED, METADATA, chain_hash
from maxmemd.policy.entries import InstanceRow


def sealed(row: InstanceRow) -> InstanceRow:
    """Return an instance with checksums of `effects` and `build`, which no hash chain covers."""
    if row.effects is None and row.build is None:
        return row
    return row._replace(effects=_seal(row.effects), build=_seal(row.build))


def sealed_text(text: str) -> str:
    """Return a text with its checksum in front."""
    return f"{zlib.crc32(text.encode()):08x} {text}"


def unsealed_text(found: str, whose: str) -> str:
    """Return a text without its checksum. Raises LedgerCorrupt if that is wrong."""
    text = found.partition(" ")[2]
    if sealed_text(text) != found:
        raise LedgerCorrupt(
            f"cannot trust the ledger: {whose} is not as it was written (see docs/recovery.md)"
        )
    return text


def _seal(text: str | None) -> str | None:
    return None if text is None else sealed_text(text)


def _without_seal(text: str | None) -> str | None:
    return None if text is None else text.partition(" ")[2]


def unsealed(row: InstanceRow) -> InstanceRow:
    """Return an instance without its checksums. Raises LedgerCorrupt if one is wrong."""
    if row.effects is None and row.build is None:
        return row
    opened = row._replace(effects=_without_seal(row.effects), build=_without_seal(row.build))
    if sealed(opened) != row:
        raise LedgerCorrupt(
            f"cannot trust the ledger: the instance of {row.uuid} is not as it was written"
            " (see docs/recovery.md)"
        )
    return opened


def check_schema(found: Collection[str]) -> None:
    """Check that no table is missing, nor an index: SQLite would do without, and take longer."""
    for table in METADATA.sorted_tables:
        if table.name not in found:
            raise LedgerCorrupt(
                f"cannot trust the ledger: its table {table.name} is missing (see docs/recovery.md)"
            )
        for index in table.indexes:
            if index.name not in found:
                made = str(CreateIndex(index).compile(dialect=sqlite.dialect()))
                raise LedgerCorrupt(
                    f"cannot trust the ledger: its index {index.name} is missing (restore the"
                    f" newest backup, or make it again: {made}; see docs/recovery.md)"
                )


def check_entry(before: bytes, row: sa.Row[Any]) -> None:
    """Raise LedgerCorrupt unless the row's hash continues the chain from `before`."""
    if chain_hash(before, tuple(row)[:HASHED]) != row.hash:
        raise LedgerCorrupt(
            f"cannot trust the ledger: entry {row.seq} is not as it was written"
            " (restore the newest backup beside the database, or see docs/recovery.md)"
        )


def check_prior(row: sa.Row[Any], before: int) -> None:
    """Check that an entry names `before`, its domain's entry before it."""
    if row.prior != before:
        raise LedgerCorrupt(
            f"cannot trust the ledger: entry {row.seq} follows entry {before} of its domain,"
            f" but names {row.prior} (see docs/recovery.md)"
        )


def check_newest(rows: Sequence[sa.Row[Any]], known: Mapping[str, int]) -> None:
    """Check that no row is newer than its domain's newest entry in `known`. Rows: newest first."""
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

    The run follows entry `after`, whose hash is `before`. Without them the first row cannot be
    checked, unless it is entry 1.
    """
    for row in rows:
        if after is not None and row.seq != after + 1:
            raise LedgerCorrupt(f"cannot trust the ledger: entry {after + 1} is missing")
        expected = GENESIS if row.seq == 1 else before
        if expected is not None:
            check_entry(expected, row)
        before, after = row.hash, row.seq
