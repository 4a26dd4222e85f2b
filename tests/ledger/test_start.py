"""What a start reads of a ledger: what stands, however much once was."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from maxmemd.errors import LedgerError
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.policy.entries import Snapshot
from tests.ledger.lines import AT_NS, UUID, entry, instance, note, opened

FEW, MANY = 20, 2000


class Cost(NamedTuple):
    """What reading took: rows that came back, and steps of SQLite's machine, in thousands."""

    rows: int
    steps: int


def uuid_of(number: int) -> str:
    """Return the UUID of a domain that came and went."""
    return f"51a70000-0000-4000-8000-{number:012x}"


def ledger_after(path: Path, dead: int) -> SqliteLedger:
    """Return a ledger in which so many domains came, ended and were forgotten; one lives."""
    made = opened(path)
    made.commit(AT_NS, [entry(1)], instances=[instance(1)], names={UUID: "web"})
    for first in range(10, 10 + dead, 100):
        uuids = [uuid_of(number) for number in range(first, min(first + 100, 10 + dead))]
        begun = [each for uuid in uuids for each in (note(0, uuid), entry(1, uuid), note(1, uuid))]
        made.commit(AT_NS, begun, instances=[instance(1, uuid=uuid) for uuid in uuids])
        ended = [instance(1, uuid=uuid, ended_ns=AT_NS) for uuid in uuids]
        made.commit(AT_NS, [note(1, uuid) for uuid in uuids], instances=ended, forgotten=uuids)
    made.commit(AT_NS, [note(1) for _ in range(1100)])
    made.close()
    return SqliteLedger(path)


def load(ledger: SqliteLedger) -> tuple[Snapshot, Cost]:
    """Load a ledger; return what it holds, and what that cost."""
    driver: Any = ledger._connection.connection.driver_connection
    rows, steps = 0, 0

    def on_row(_: sqlite3.Cursor, row: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal rows
        rows += 1
        return row

    def on_steps() -> int:
        nonlocal steps
        steps += 1
        return 0

    driver.row_factory = on_row
    driver.set_progress_handler(on_steps, 1000)
    return ledger.load(), Cost(rows, steps)


def test_a_start_reads_what_stands(tmp_path: Path) -> None:
    """It costs the same after 20 domains that came and went, and after 2,000."""
    found = []
    for dead in (FEW, MANY):
        ledger = ledger_after(tmp_path / f"{dead}.sqlite", dead)
        kept, cost = load(ledger)
        assert [record.uuid for record in kept.records] == [UUID]
        assert kept.instances == (instance(1),)
        assert kept.names == {UUID: "web"}
        found.append(cost)
        ledger.close()
    few, many = found
    assert many.rows == few.rows < 1100
    assert abs(many.steps - few.steps) <= 2, found


def test_nothing_of_the_dead_is_in_memory(tmp_path: Path) -> None:
    """Neither after loading, nor while domains come and go."""
    path = tmp_path / "l.sqlite"
    ledger_after(path, FEW).close()
    ledger = SqliteLedger(path)
    ledger.load()
    for number in range(1000, 1000 + FEW):
        ledger.commit(AT_NS, [note(0, uuid_of(number))], instances=[instance(1)])
        ledger.commit(AT_NS, [entry(1, uuid_of(number))])
        ledger.commit(AT_NS, [note(1, uuid_of(number))], forgotten=[uuid_of(number)])
    assert list(ledger._heads._standing) == [UUID]
    ledger.close()


def test_who_comes_back_goes_on_where_it_was(tmp_path: Path) -> None:
    """Its next entry names its last one, and its next instance has the next incarnation."""
    path = tmp_path / "l.sqlite"
    ledger = ledger_after(path, FEW)
    ledger.load()
    uuid = uuid_of(12)
    assert ledger.last_incarnation(uuid) == 1
    ledger.commit(AT_NS, [note(0, uuid)], instances=[instance(2, uuid=uuid)])
    assert ledger.last_incarnation(uuid) == 2
    ledger.commit(AT_NS, [entry(1, uuid)], instances=[instance(1, uuid=uuid, ended_ns=AT_NS)])
    assert ledger.last_incarnation(uuid) == 2
    ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT seq, prior FROM history WHERE uuid = ? ORDER BY seq"
        rows = connection.execute(query, (uuid,)).fetchall()
        assert connection.execute(
            "SELECT count(*) FROM former WHERE uuid = ?", (uuid,)
        ).fetchone() == (0,)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert [prior for _, prior in rows] == [0, *(seq for seq, _ in rows[:-1])]


def test_a_uuid_without_a_record_is_known_when_it_comes_back(tmp_path: Path) -> None:
    """One that was never adopted, and one of which there is no entry."""
    ledger = opened(tmp_path / "l.sqlite")
    ledger.commit(AT_NS, [note(0, uuid_of(1))], instances=[instance(1, uuid=uuid_of(1))])
    ledger.commit(AT_NS, [], instances=[instance(3, uuid=uuid_of(2))])
    assert [ledger.last_incarnation(uuid_of(number)) for number in (1, 2, 3)] == [1, 3, 0]
    assert ledger.load().records == ()
    ledger.close()


@pytest.mark.parametrize("name", ["former", "push"])
def test_a_table_that_is_gone_is_seen(tmp_path: Path, name: str) -> None:
    """A statement would fail by it, sooner or later: the start says it."""
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"DROP TABLE {name}")
    with pytest.raises(LedgerError, match=f"table {name} is missing|no such table: {name}"):
        SqliteLedger(path).load()
