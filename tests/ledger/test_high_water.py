"""The witness beside the database: it remembers what a damaged WAL would hide."""

import os
from pathlib import Path

import pytest

from maxmemd.errors import LedgerCorrupt, LedgerError
from maxmemd.ledger.high_water import HighWaterMark
from tests.ledger.lines import AT_NS, entry, opened

TAIL = bytes(range(32))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return where the database is."""
    return tmp_path / "ledger.sqlite"


def test_it_remembers_the_newest_line(database: Path) -> None:
    """What was written last is read, by the next program too; before that nothing is known."""
    first = HighWaterMark(database)
    assert first.read() is None
    first.write(6, bytes(32))
    first.write(7, TAIL)
    first.close()
    first.close()
    again = HighWaterMark(database)
    assert again.read() == (7, TAIL)
    again.close()
    assert database.with_name("ledger.sqlite-high-water").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("bit", [0, 63, 64, 319, 320, 383])
def test_a_damaged_one_is_none(database: Path, bit: int) -> None:
    """It never accuses a ledger of what itself has suffered."""
    witness = HighWaterMark(database)
    witness.write(7, TAIL)
    path = database.with_name("ledger.sqlite-high-water")
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(content)
    assert witness.read() is None
    witness.close()


def test_what_cannot_be_written_leaves_it_behind(
    database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A failing disk does not fail a commit that is kept; it is logged once."""
    witness = HighWaterMark(database)
    whole = os.dup(witness._file)
    witness.close()
    for number in (7, 8):
        witness.write(number, TAIL)
    assert caplog.messages == [f"cannot write {database}-high-water: Bad file descriptor"]
    again = HighWaterMark(database)
    assert again.read() is None
    again.close()
    witness._file = whole
    witness.write(9, TAIL)
    assert witness.read() == (9, TAIL)
    witness.close()
    witness.write(10, TAIL)
    assert len(caplog.messages) == 2


def test_a_place_that_cannot_be_used(tmp_path: Path) -> None:
    """A file that cannot be opened is a LedgerError that names it."""
    with pytest.raises(LedgerError, match=r"cannot open .*ledger.sqlite-high-water: No such file"):
        HighWaterMark(tmp_path / "nowhere" / "ledger.sqlite")


def test_a_ledger_that_went_back_is_corrupt(database: Path) -> None:
    """An older database, though whole, is not the one that was written: its last line is gone."""
    ledger = opened(database)
    ledger.commit(AT_NS, [entry(1)])
    ledger.close()
    older = database.read_bytes()
    ledger = opened(database)
    ledger.commit(AT_NS, [entry(2)])
    ledger.close()
    database.write_bytes(older)
    with pytest.raises(LedgerCorrupt, match="entry 2 was written but is missing"):
        opened(database)

    database.with_name("ledger.sqlite-high-water").unlink()
    again = opened(database)
    assert [record.revision for record in again.load().records] == [1]
    again.close()
