"""Revision 0007 tells of the records that stand which of their numbers a client decided."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from maxmemd.errors import LedgerCorrupt
from maxmemd.ledger.migrate import migrate
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.policy.components import MAX_MEM, OBSERVABLE, STATIC_MAX
from maxmemd.policy.wishes import SetMaxMem
from tests.ledger.test_one_vocabulary import FIXTURES, number_of, seat_on
from tests.support.seat import mib


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a migrated copy of the ledger that a former program wrote."""
    for name in ("ledger-0003.sqlite", "ledger-0003.sqlite-tail"):
        shutil.copy(FIXTURES / name, tmp_path / name)
    migrate(tmp_path / "ledger-0003.sqlite")
    return tmp_path / "ledger-0003.sqlite"


def test_the_history_tells_what_was_decided(path: Path) -> None:
    """By the kinds of its entries: adopted and announced numbers were observed, others decided."""
    found = {number_of(r.uuid): r.observed for r in SqliteLedger(path).load().records}
    assert found[0] == found[11] == found[12] == OBSERVABLE
    assert found[1] == frozenset()
    assert found[3] == OBSERVABLE  # drift that was adopted, after an adoption
    assert found[21] == frozenset()  # a mem-max, and a mem-set after it


def test_the_next_decision_says_it_itself(path: Path) -> None:
    """Then the column counts no more, and the chain is whole."""
    seat = seat_on(path).restart()
    uuid = next(seat.uuid(life.domid) for life in seat.arbiter.instances
                if number_of(life.uuid) == 11)  # fmt: skip
    assert seat.arbiter.records.get(uuid).observed == OBSERVABLE  # type: ignore[union-attr]
    seat.grant(uuid, SetMaxMem(mib(400), force=True))
    seat.arbiter.flush()
    [after] = [r for r in SqliteLedger(path).load().records if r.uuid == uuid]
    assert {MAX_MEM, STATIC_MAX} <= after.decided
    assert LedgerReader(path).check() > 0


def test_a_flipped_bit_is_seen(path: Path) -> None:
    """No chain covers the column: it is sealed."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE record SET observed = replace(observed, 'max-mem', 'max-men')")
    with pytest.raises(LedgerCorrupt, match="observed of"):
        SqliteLedger(path).load()
