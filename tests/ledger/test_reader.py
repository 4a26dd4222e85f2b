"""Questions to the ledger: the history, what made a revision, pushes, and the whole chain."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import sqlalchemy as sa

from maxmemd.errors import LedgerError
from maxmemd.ledger import chain, reader
from maxmemd.ledger.reader import LedgerReader, Page
from tests.ledger.lines import OTHER, UUID, page_of
from tests.support.until import until

WITHIN_S = 60.0


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


def test_a_check_that_is_to_end_reads_no_further_entries(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends in its rest after the entries it has, however long that would be."""
    monkeypatch.setattr(reader, "STRIDE", 2)
    checked = Event()

    def check(*words: Any, **options: Any) -> None:
        check_entries(*words, **options)
        checked.set()

    check_entries = chain.check_entries
    monkeypatch.setattr(chain, "check_entries", check)
    ours = LedgerReader(path)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(ours.check, pause_s=3600.0)
        assert checked.wait(WITHIN_S)
        ours.end_check()
        assert found.result(WITHIN_S) == 2
    assert ours.check() == 0


def test_a_check_that_is_to_end_interrupts_its_statement(path: Path) -> None:
    """The check of SQLite's own structure is one statement, and may take long."""
    ours = LedgerReader(path)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"

    @sa.event.listens_for(ours._engine, "before_cursor_execute", retval=True)
    def instead(*words: Any) -> tuple[str, Any]:
        statement, parameters = words[2:4]
        return (endless if "integrity_check" in statement else statement), parameters

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(ours.check)
        until("the structure is checked", lambda: ours._checking is not None)

        def has_ended() -> bool:
            ours.end_check()  # again, for the statement may not have begun
            return found.done()

        until("it has ended", has_ended)
        assert found.result() > 0


def test_a_check_of_the_structure_that_fails_is_an_error(path: Path) -> None:
    """Only a check that is to end may be interrupted."""
    ours = LedgerReader(path)

    @sa.event.listens_for(ours._engine, "before_cursor_execute")
    def interrupt(*words: Any) -> None:
        if "integrity_check" in words[2]:
            raise sqlite3.OperationalError("interrupted")

    with pytest.raises(LedgerError, match="cannot check the ledger: interrupted"):
        ours.check()
