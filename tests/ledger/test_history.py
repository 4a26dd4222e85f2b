"""The entries of one domain: newest first, in pages, and what made each revision."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from maxmemd.ledger import history, reader
from maxmemd.ledger.reader import LedgerReader
from tests.ledger.lines import AT_NS, UUID, entry, note, opened


def test_history_is_newest_first_and_in_pieces(path: Path) -> None:
    """A domain's lines come newest first, so many at a time, below a line."""
    asked = LedgerReader(path)
    first = asked.history(UUID, limit=4, before=None)
    assert [row.seq for row in first] == [7, 6, 5, 4]
    assert [row.seq for row in asked.history(UUID, limit=4, before=4)] == [2, 1]
    assert [row.seq for row in asked.history(UUID, limit=4, before=3)] == [2, 1]
    assert [row.seq for row in asked.history(UUID, limit=2, before=99)] == [7, 6]
    assert asked.history(UUID, limit=4, before=1) == []
    assert asked.history("nobody", limit=4, before=None) == []
    assert asked.history("nobody", limit=4, before=5) == []


def test_what_made_a_revision(path: Path) -> None:
    """For each revision the line that made it, not a note that names it."""
    made = LedgerReader(path).entries_of(UUID, [1, 3, 9], 0)
    assert {revision: row.seq for revision, row in made.items()} == {1: 1, 3: 5}


def test_a_revision_that_was_made_twice(path: Path) -> None:
    """After a record was forgotten and begun again, the newer line is what made its revision."""
    asked = LedgerReader(path)
    assert asked.entries_of(UUID, [1], 0)[1].seq == 1
    ledger = opened(path)
    ledger.commit(AT_NS, [note(3)], forgotten=[UUID])
    ledger.commit(AT_NS, [entry(1)])
    ledger.close()
    assert asked.entries_of(UUID, [1], 1)[1].seq == 9
    assert LedgerReader(path).entries_of(UUID, [1], 0)[1].seq == 9


def test_an_old_revision_is_walked_to_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that adds entries and asks again does not make others read past them twice."""
    walked: list[int] = []
    walk = history.revision_entries

    def counted(uuid: str, least: int) -> sa.Select[Any]:
        walked.append(least)
        return walk(uuid, least)

    monkeypatch.setattr(history, "revision_entries", counted)
    asked = LedgerReader(path)
    for _ in range(3):
        assert {r: row.seq for r, row in asked.entries_of(UUID, [1, 3], 0).items()} == {1: 1, 3: 5}
    ledger = opened(path)
    ledger.commit(AT_NS, [entry(4)])
    ledger.close()
    assert {r: row.seq for r, row in asked.entries_of(UUID, [1, 3, 4], 0).items()} == {
        1: 1,
        3: 5,
        4: 8,
    }
    assert walked == [1, 4]


def test_what_is_remembered_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that was asked for longest ago goes first; it is found again all the same."""
    monkeypatch.setattr(reader, "MOST_CACHED", 2)
    asked = LedgerReader(path)
    asked.entries_of(UUID, [1, 2], 0)
    asked.entries_of(UUID, [1, 3], 0)
    assert [revision for _, _, revision in asked._cache] == [1, 3]
    assert {r: row.seq for r, row in asked.entries_of(UUID, [1, 2, 3], 0).items()} == {
        1: 1,
        2: 4,
        3: 5,
    }
