"""Questions to the ledger: the history, what made a revision, pushes, and the whole chain."""

from pathlib import Path
from typing import Any

import pytest

from maxmemd.errors import LedgerError
from maxmemd.ledger.reader import LedgerReader, Page
from tests.ledger.lines import OTHER, UUID, page_of


def test_pushes_are_newest_first(path: Path) -> None:
    """A domain's pushes come newest first with Xen's answer."""
    rows: list[tuple[int, int | None, int | None]] = []

    def encode(row: Any) -> bytes:
        rows.append((row.revision, row.seen_pages, row.errno))
        return b""

    LedgerReader(path).pushes(UUID, encode, limit=5)
    assert rows == [(3, None, 1), (1, 256, None)]


def test_pushes_come_in_pages(path: Path) -> None:
    """A page names the next one by the push that it ends with; the last names none."""
    asked = LedgerReader(path)
    assert page_of(asked.pushes, UUID, limit=1) == Page([b"2"], 2)
    assert page_of(asked.pushes, UUID, limit=1, before=2) == Page([b"1"], None)
    assert page_of(asked.pushes, UUID, limit=2) == Page([b"2", b"1"], None)
    assert page_of(asked.pushes, OTHER, limit=2) == Page([], None)


def test_reading_writes_nothing(path: Path, tmp_path: Path) -> None:
    """A reader makes no database where there is none, and cannot write to one that is."""
    nowhere = tmp_path / "nowhere.sqlite"
    with pytest.raises(LedgerError, match="SQLITE_CANTOPEN"):
        LedgerReader(nowhere).check()
    assert not nowhere.exists()
    with LedgerReader(path)._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA query_only").scalar() == 1
