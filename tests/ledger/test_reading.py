"""A read ends when its time is over, or when another thread says so, and only that read."""

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from maxmemd.errors import LedgerError, ReadTooLong
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.reading import reading
from maxmemd.ledger.schema import engine
from maxmemd.pacing import Deadline
from tests.ledger.lines import UUID, seqs_of
from tests.support.fakes import FakeClock

FOR_EVER = sa.text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
)


class EndedByAnother(Deadline):
    """A deadline that another thread ends while SQLite is at work."""

    def __init__(self) -> None:
        super().__init__(1e9)
        self.looks = 0

    @property
    def is_over(self) -> bool:
        """End it when SQLite has asked a few times."""
        self.looks += 1
        if self.looks == 5:
            other = threading.Thread(target=self.end)
            other.start()
            other.join()
        return super().is_over


def test_another_thread_ends_a_statement_that_runs(path: Path) -> None:
    """A statement without an end ends; the next read is not concerned."""
    until = EndedByAnother()
    with (
        pytest.raises(ReadTooLong, match="cannot count in time: ask for less with limit"),
        reading(engine(path, read_only=True), path, "count", until) as read,
    ):
        read.connection.execute(FOR_EVER)
    assert until.looks >= 5
    assert seqs_of(LedgerReader(path).history, UUID, limit=2) == [7, 6]


def test_a_statement_ends_at_the_deadline(path: Path) -> None:
    """Time alone ends it too: each look of SQLite takes a second of this clock."""
    clock = FakeClock()

    def pass_a_second() -> float:
        clock.forward(1)
        return clock.monotonic_s()

    with (
        pytest.raises(ReadTooLong),
        reading(engine(path, read_only=True), path, "count", Deadline(60, pass_a_second)) as read,
    ):
        read.connection.execute(FOR_EVER)


@pytest.mark.parametrize("kind", ["history", "pushes"])
def test_a_page_ends_between_two_rows(path: Path, kind: str) -> None:
    """What encoding takes counts as well: no further row is encoded."""
    clock, reader = FakeClock(), LedgerReader(path)
    encoded = []

    def encode(row: object) -> bytes:
        encoded.append(row)
        clock.forward(6)
        return b""

    with pytest.raises(ReadTooLong, match="cannot read the"):
        getattr(reader, kind)(UUID, encode, limit=9, until=Deadline(5, clock.monotonic_s))
    assert len(encoded) == 1


def test_what_was_ended_before_it_began_opens_nothing(tmp_path: Path) -> None:
    """A read whose client went while it waited does not touch the file."""
    until, reader = Deadline(5), LedgerReader(tmp_path / "nowhere.sqlite")
    until.end()
    with pytest.raises(ReadTooLong):
        reader.made_by(UUID, [1], 0, until)


def test_trouble_in_time_is_the_ledgers(tmp_path: Path) -> None:
    """A file that cannot be read is not taken for a read that took too long."""
    with pytest.raises(LedgerError, match="SQLITE_CANTOPEN"):
        seqs_of(LedgerReader(tmp_path / "nowhere.sqlite").history, UUID, limit=1)


def test_revisions_end_between_two_as_well(path: Path) -> None:
    """An explanation of many components is many small statements: each asks first."""
    until = EndedByAnother()
    with pytest.raises(ReadTooLong):
        LedgerReader(path).made_by(UUID, list(range(1, 65)), 0, until)
    assert until.looks == 5
