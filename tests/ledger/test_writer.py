"""The SQLite ledger: all or nothing, the hash chain, and what a damaged file looks like."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from maxmemd.errors import LedgerBusy, LedgerCorrupt, LedgerError, LedgerFull
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.schema import GENESIS, HASHED, as_ledger_errors, chain_hash
from maxmemd.ledger.writer import SqliteLedger
from tests.ledger.lines import (
    AT_NS,
    BUILD,
    OTHER,
    UUID,
    entry,
    instance,
    note,
    opened,
    push,
    record,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the database is."""
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    """Give a ledger with five lines of two domains."""
    made = opened(path, busy_ms=0)
    made.commit(AT_NS, [entry(1), entry(1, OTHER), entry(2), note(2)], pushes=[push(2)])
    made.commit(AT_NS + 1, [note(1, OTHER)], instances=[instance(1)])
    yield made
    made.close()


@contextmanager
def edited(path: Path) -> Iterator[sqlite3.Connection]:
    """Write to the database as another program would."""
    with closing(sqlite3.connect(path)) as connection:
        yield connection
        connection.commit()


def test_the_file_is_as_durable_as_sqlite_can(ledger: SqliteLedger) -> None:
    """The connection that writes uses WAL, synchronous=FULL and foreign keys."""
    connection = ledger._connection
    with connection.begin():
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]


def test_the_chain_begins_at_genesis(path: Path, ledger: SqliteLedger) -> None:
    """Each line's hash covers the line and the hash before it, from 32 zero bytes on."""
    with edited(path) as connection:
        rows = connection.execute("SELECT * FROM history ORDER BY seq").fetchall()
    before = GENESIS
    for row in rows:
        before = chain_hash(before, row[:HASHED])
        assert row[HASHED] == before
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[-1][1] == AT_NS + 1


def test_none_and_empty_hash_alike_but_fields_do_not_run_together() -> None:
    """A text cannot move from one field into the next unseen."""
    assert chain_hash(GENESIS, ("ab", "c")) != chain_hash(GENESIS, ("a", "bc"))
    assert chain_hash(GENESIS, ("a",)) != chain_hash(bytes([1]) * 32, ("a",))


def test_a_second_run_goes_on_with_the_chain(path: Path, ledger: SqliteLedger) -> None:
    """What another run of the program wrote before is continued, not restarted."""
    ledger.close()
    again = opened(path)
    again.commit(AT_NS, [entry(3)])
    again.close()
    assert LedgerReader(path).check() == 6


def test_a_failed_commit_keeps_nothing(path: Path, ledger: SqliteLedger) -> None:
    """A commit that fails half-way leaves no line, and the next one fits the chain."""
    with pytest.raises(LedgerError, match=r"cannot write the ledger: .* \(SQLITE_CONSTRAINT_"):
        ledger.commit(AT_NS, [entry(3, key="0:a"), entry(4, key="0:a")])
    assert ledger.load().records == (record(2), record(1, OTHER))
    ledger.commit(AT_NS, [entry(3, key="0:a")])
    assert LedgerReader(path).check() == 6


def test_a_locked_database_is_busy_and_then_is_not(path: Path, ledger: SqliteLedger) -> None:
    """While another process holds the write lock a commit is LedgerBusy; afterwards it works."""
    with edited(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerBusy, match="SQLITE_BUSY"):
            ledger.commit(AT_NS, [entry(3)])
    ledger.commit(AT_NS, [entry(3)])
    assert LedgerReader(path).check() == 6


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE history SET wish = '{}' WHERE seq = 3",
        "UPDATE history SET at_ns = at_ns + 1 WHERE seq = 5",
        "UPDATE history SET state = NULL WHERE seq = 1",
        "UPDATE history SET hash = zeroblob(32) WHERE seq = 5",
        "UPDATE history SET key = '0:a' WHERE seq = 4",
        "DELETE FROM history WHERE seq = 4",
        "DELETE FROM history WHERE seq = 3",
        "UPDATE record SET head = 99 WHERE head = 3",
        "UPDATE record SET head = 1 WHERE head = 3",
        "UPDATE record SET head = 1, newest = 1 WHERE head = 3",
        "UPDATE record SET newest = 3 WHERE head = 3",
        "UPDATE record SET newest = 5 WHERE head = 3",
    ],
)
def test_damage_is_seen_at_start(path: Path, ledger: SqliteLedger, damage: str) -> None:
    """An edit, a gap or a record that stands on nothing: LedgerCorrupt when it is loaded."""
    with edited(path) as connection:
        connection.execute(damage)
    with pytest.raises(LedgerCorrupt, match="cannot trust the ledger"):
        ledger.load()


@pytest.mark.parametrize(
    "damage",
    ["UPDATE record SET head = 1 WHERE head = 3", "UPDATE record SET newest = 1 WHERE head = 3"],
)
def test_a_record_far_behind_is_seen_at_start(
    path: Path, ledger: SqliteLedger, damage: str
) -> None:
    """A record must stand on its domain's newest state, however far back the lines are."""
    ledger.commit(AT_NS, [note(1, OTHER) for _ in range(1100)])
    with edited(path) as connection:
        connection.execute(damage)
    with pytest.raises(LedgerCorrupt, match=f"the record of {UUID} is not the last"):
        ledger.load()


def test_an_old_records_line_is_checked_too(path: Path, ledger: SqliteLedger) -> None:
    """A record whose line is older than the newest thousand is checked against its neighbour."""
    ledger.commit(AT_NS, [note(2) for _ in range(1100)])
    with edited(path) as connection:
        connection.execute("UPDATE history SET actor = 'x' WHERE seq = 2")
    with pytest.raises(LedgerCorrupt, match="entry 2 is not as it was written"):
        ledger.load()


def test_a_state_that_cannot_be_read_is_damage(path: Path, ledger: SqliteLedger) -> None:
    """A line whose hash is right but whose state is no record's is LedgerCorrupt."""
    ledger.commit(AT_NS, [type(entry(3))(UUID, 3, "mem-max", "{}", "{}", '{"components":5}')])
    with pytest.raises(LedgerCorrupt, match="cannot read entry 6"):
        ledger.load()
    with pytest.raises(LedgerCorrupt, match="cannot read entry 6"):
        ledger.record_at(UUID, 3)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """Rubbish is LedgerCorrupt, a directory that is not there LedgerError: as SQLite says."""
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"rubbish" * 999)
    with pytest.raises(LedgerCorrupt, match=r"cannot open the ledger .*SQLITE_NOTADB"):
        SqliteLedger(rubbish)
    with pytest.raises(LedgerError, match="SQLITE_CANTOPEN"):
        SqliteLedger(tmp_path / "nowhere" / "l.sqlite")


def test_no_space_is_a_fact_of_its_own(path: Path, ledger: SqliteLedger) -> None:
    """When the database may not grow, a commit is LedgerFull and nothing of it is kept."""
    with ledger._connection.begin():
        ledger._connection.exec_driver_sql("PRAGMA max_page_count = 1").scalar()
    with pytest.raises(LedgerFull, match="SQLITE_FULL"):
        ledger.commit(AT_NS, [entry(n) for n in range(3, 3000)])
    ledger.reopen()
    ledger.load()
    ledger.commit(AT_NS, [entry(3)])
    assert LedgerReader(path).check() == 6


@pytest.mark.parametrize(
    ("column", "was", "now"), [("build", "16640", "16641"), ("effects", ":4", ":5")]
)
def test_what_no_chain_covers_is_sealed(
    path: Path, ledger: SqliteLedger, column: str, was: str, now: str
) -> None:
    """A digit of what an instance is to do, or of how it came to be, that changed is damage.

    It is reported as that: the ledger can be closed while the error is being handled.
    """
    one = instance(1)._replace(build=BUILD)
    ledger.commit(AT_NS, [], instances=[one, one._replace(uuid=OTHER, domid=one.domid + 1)])
    with edited(path) as connection:
        done = connection.execute(f"UPDATE instance SET {column} = replace({column}, ?, ?)",
                                  (was, now))  # fmt: skip
        assert done.rowcount == 2
    with pytest.raises(LedgerCorrupt, match=r"the instance of .* docs/recovery\.md") as caught:
        ledger.load()
    ledger.close()
    assert caught.value.__traceback__ is not None  # which holds all that was open


def test_an_error_without_a_name_is_sqlites(tmp_path: Path) -> None:
    """An error that carries no result code is a LedgerError all the same."""
    with (
        pytest.raises(LedgerError, match=r"cannot try: odd \(SQLITE_ERROR\)"),
        as_ledger_errors(tmp_path, "try"),
    ):
        raise sqlite3.OperationalError("odd")
