"""Questions to the ledger: the history, what made a revision, pushes, and the whole chain."""

from pathlib import Path

import pytest

from maxmemd.errors import LedgerError
from maxmemd.ledger.reader import LedgerReader
from tests.ledger.lines import UUID


def test_pushes_are_newest_first(path: Path) -> None:
    """A domain's pushes come newest first with Xen's answer."""
    rows = LedgerReader(path).pushes(UUID, limit=5)
    assert [(row.revision, row.seen_pages, row.errno) for row in rows] == [
        (3, None, 1),
        (1, 256, None),
    ]
    assert len(LedgerReader(path).pushes(UUID, limit=1)) == 1


def test_reading_writes_nothing(path: Path, tmp_path: Path) -> None:
    """A reader makes no database where there is none, and cannot write to one that is."""
    nowhere = tmp_path / "nowhere.sqlite"
    with pytest.raises(LedgerError, match="SQLITE_CANTOPEN"):
        LedgerReader(nowhere).check()
    assert not nowhere.exists()
    with LedgerReader(path)._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA query_only").scalar() == 1
