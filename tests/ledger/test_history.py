"""The entries of one domain: newest first, in pages, and what made each revision."""

from pathlib import Path
from typing import Any

import pytest

from maxmemd.ledger import history, reader
from maxmemd.ledger.reader import LedgerReader
from tests.ledger.lines import AT_NS, UUID, entry, note, opened, page_of, seqs_of


def test_history_is_newest_first_and_in_pieces(path: Path) -> None:
    """A domain's lines come newest first, so many at a time, below a line."""
    asked = LedgerReader(path)
    assert seqs_of(asked.history, UUID, limit=4) == [7, 6, 5, 4]
    assert seqs_of(asked.history, UUID, limit=4, before=4) == [2, 1]
    assert seqs_of(asked.history, UUID, limit=4, before=3) == [2, 1]
    assert seqs_of(asked.history, UUID, limit=2, before=99) == [7, 6]
    assert seqs_of(asked.history, UUID, limit=4, before=1) == []
    assert seqs_of(asked.history, "nobody", limit=4) == []
    assert seqs_of(asked.history, "nobody", limit=4, before=5) == []


@pytest.mark.parametrize(
    ("limit", "before", "seqs", "next_before"),
    [
        (4, None, [7, 6, 5, 4], 4),
        (2, 4, [2, 1], None),
        (1, 4, [2], 2),
        (9, None, [7, 6, 5, 4, 2, 1], None),
        (9, 1, [], None),
    ],
)
def test_a_page_names_the_next_where_there_is_one(
    path: Path, limit: int, before: int | None, seqs: list[int], next_before: int | None
) -> None:
    """A page that ends with the domain's first entry names none, however long it is."""
    page = page_of(LedgerReader(path).history, UUID, limit=limit, before=before)
    assert [int(seq) for seq in page.items] == seqs
    assert page.next_before == next_before


def test_a_page_ends_where_its_bytes_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of entries that are large fewer make a page, at least one, and no entry is lost between."""
    monkeypatch.setattr(reader, "MOST_BYTES", 1000)
    asked, encoded = LedgerReader(path), []

    def encode(row: object) -> bytes:
        encoded.append(row)
        return bytes(400)

    page = asked.history(UUID, encode, limit=500)
    assert (len(page.items), page.next_before) == (3, 5)
    assert len(encoded) == 3, "no more is read and encoded than the page has"
    page = asked.history(UUID, encode, limit=500, before=page.next_before)
    assert (len(page.items), page.next_before) == (3, None)
    page = asked.history(UUID, lambda _: bytes(5000), limit=500)
    assert (len(page.items), page.next_before) == (1, 7)
    page = asked.pushes(UUID, lambda _: bytes(5000), limit=500)
    assert (len(page.items), page.next_before) == (1, 2)


def test_what_made_a_revision(path: Path) -> None:
    """For each revision the line that made it, not a note that names it."""
    assert makers(LedgerReader(path), [1, 3, 9]) == {1: 1, 3: 5}


def makers(asked: LedgerReader, revisions: list[int], generation: int = 0) -> dict[int, int]:
    """Return the entries that made some revisions."""
    made_by = asked.made_by(UUID, revisions, generation)
    return {revision: made.seq for revision, made in made_by.items()}


def test_a_revision_that_was_made_twice(path: Path) -> None:
    """After a record was forgotten and begun again, the newer line is what made its revision."""
    asked = LedgerReader(path)
    assert makers(asked, [1]) == {1: 1}
    ledger = opened(path)
    ledger.commit(AT_NS, [note(3)], forgotten=[UUID])
    ledger.commit(AT_NS, [entry(1)])
    ledger.close()
    assert makers(asked, [1], 1) == {1: 9}
    assert makers(LedgerReader(path), [1, 2]) == {1: 9, 2: 4}


def test_an_old_revision_is_looked_for_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that adds entries and asks again does not make others look for them twice."""
    looked_for: list[int] = []
    look = history.revision_entries

    def counted(connection: Any, uuid: str, revisions: list[int], check: Any) -> Any:
        looked_for.extend(revisions)
        return look(connection, uuid, revisions, check)

    monkeypatch.setattr(history, "revision_entries", counted)
    asked = LedgerReader(path)
    for _ in range(3):
        assert makers(asked, [1, 3]) == {1: 1, 3: 5}
    ledger = opened(path)
    ledger.commit(AT_NS, [entry(4)])
    ledger.close()
    assert makers(asked, [1, 3, 4]) == {1: 1, 3: 5, 4: 8}
    assert looked_for == [1, 3, 4]


def test_what_is_remembered_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that was asked for longest ago goes first; it is found again all the same."""
    monkeypatch.setattr(reader, "MOST_CACHED", 2)
    asked = LedgerReader(path)
    makers(asked, [1, 2])
    makers(asked, [1, 3])
    assert [revision for _, _, revision in asked._cache] == [1, 3]
    assert makers(asked, [1, 2, 3]) == {1: 1, 2: 4, 3: 5}
