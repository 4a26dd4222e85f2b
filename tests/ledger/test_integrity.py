"""Gaps and edits anywhere in the chain are found."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from maxmemd.errors import LedgerCorrupt
from maxmemd.ledger import reader
from maxmemd.ledger.reader import LedgerReader


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
