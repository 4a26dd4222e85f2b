"""Questions to the ledger: the history, what made a revision, pushes, and the whole chain."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from maxmemd.errors import LedgerCorrupt, LedgerError
from maxmemd.ledger import history, reader
from maxmemd.ledger.reader import LedgerReader
from tests.ledger.lines import AT_NS, OTHER, UUID, entry, note, opened, push


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a database with seven lines, six of them one domain's."""
    found = tmp_path / "ledger.sqlite"
    ledger = opened(found)
    ledger.commit(AT_NS, [entry(1), note(1), entry(1, OTHER), entry(2)], pushes=[push(1)])
    ledger.commit(AT_NS, [entry(3), note(3), note(3)], pushes=[push(3, errno=1)])
    ledger.close()
    return found


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


def test_pushes_are_newest_first(path: Path) -> None:
    """A domain's pushes come newest first with Xen's answer."""
    rows = LedgerReader(path).pushes(UUID, limit=5)
    assert [(row.revision, row.seen_pages, row.errno) for row in rows] == [
        (3, None, 1),
        (1, 256, None),
    ]
    assert len(LedgerReader(path).pushes(UUID, limit=1)) == 1


def test_the_whole_chain_in_strides(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many lines are fetched at once, the chain is checked across them."""
    for stride in (1, 2, 3, 7, 100):
        monkeypatch.setattr(reader, "STRIDE", stride)
        assert LedgerReader(path).check() == 7


@pytest.mark.parametrize("stride", [1, 3, 100])
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("UPDATE history SET kind = 'mem-set' WHERE seq = 2", "entry 2 is not as it was"),
        ("DELETE FROM history WHERE seq = 2", "entry 2 is missing"),
        ("UPDATE history SET hash = zeroblob(32) WHERE seq = 3", "entry 3 is not as it was"),
        ("UPDATE history SET prior = 1 WHERE seq = 5", "entry 5 follows entry 4 of its domain"),
    ],
)
def test_damage_anywhere_is_found(
    path: Path, monkeypatch: pytest.MonkeyPatch, stride: int, damage: str, sentence: str
) -> None:
    """The first line that is missing or edited is named, wherever it is."""
    monkeypatch.setattr(reader, "STRIDE", stride)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(damage)
        connection.commit()
    with pytest.raises(LedgerCorrupt, match=sentence):
        LedgerReader(path).check()


def test_a_missing_first_line_is_found(path: Path) -> None:
    """A chain that does not begin at its first line is not whole."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM history WHERE seq = 1")
        connection.commit()
    with pytest.raises(LedgerCorrupt, match="entry 1 is missing"):
        LedgerReader(path).check()


def test_reading_writes_nothing(path: Path, tmp_path: Path) -> None:
    """A reader makes no database where there is none, and cannot write to one that is."""
    nowhere = tmp_path / "nowhere.sqlite"
    with pytest.raises(LedgerError, match="SQLITE_CANTOPEN"):
        LedgerReader(nowhere).check()
    assert not nowhere.exists()
    with LedgerReader(path)._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA query_only").scalar() == 1
