"""What may stand where the ledger was: none of it is begun on, and none of it is touched."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from maxmemd.errors import LedgerError
from maxmemd.ledger.migrate import migrate
from maxmemd.ledger.writer import SqliteLedger
from tests.ledger.lines import AT_NS, entry, opened

ENTRIES = 200


def _cut(path: Path, left: float) -> None:
    os.truncate(path, int(path.stat().st_size * left))


def _zeros(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(bytes(4096))


def _made(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def _edited(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


KINDS: dict[str, Callable[[Path], object]] = {
    "half of it": lambda path: _cut(path, 0.5),
    "all but its last bytes": lambda path: os.truncate(path, path.stat().st_size - 100),
    "a page of zeros in it": _zeros,
    "an empty file": lambda path: _cut(path, 0),
    "nothing": Path.unlink,
    "a directory": lambda path: _made(path, Path.mkdir),
    "a FIFO": lambda path: _made(path, os.mkfifo),
    "a link to nothing": lambda path: _made(path, lambda it: it.symlink_to(it.parent / "none")),
    "text": lambda path: path.write_text("zzz" * 5000),
    "another program's": lambda path: _made(path, lambda it: _edited(it, "CREATE TABLE songs (a)")),
    "a later version's": lambda path: _edited(
        path, "UPDATE alembic_version SET version_num='9999'"
    ),
    "an unheard-of version's": lambda path: _edited(
        path, "UPDATE alembic_version SET version_num = 'zzz'"
    ),
    "one of no version": lambda path: _edited(path, "DELETE FROM alembic_version"),
    "one without history": lambda path: _edited(path, "DROP TABLE history"),
    "one without records": lambda path: _edited(path, "DROP TABLE record"),
    "one with an empty history": lambda path: _edited(path, "DELETE FROM history"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a ledger with entries, closed."""
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    ledger.commit(AT_NS, [entry(n) for n in range(1, ENTRIES)])
    ledger.close()
    return path


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_the_ledger_is_refused(path: Path, kind: str) -> None:
    """Nothing is begun on it, and nothing is written to it."""
    KINDS[kind](path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(LedgerError, match=r"^cannot "):
        _start(path)
    assert before == (path.read_bytes() if path.is_file() else None)


def _start(path: Path) -> None:
    """Do with the ledger what a start does."""
    migrate(path)
    ledger = SqliteLedger(path)
    try:
        ledger.load()
    finally:
        ledger.close()


def test_the_ledger_itself_is_not_refused(path: Path) -> None:
    """These tests would see nothing otherwise."""
    _start(path)


def test_a_trigger_that_deletes_entries_is_no_way_to_lose_them(path: Path) -> None:
    """Whatever was put into the database, a commit that took an entry with it fails."""
    _edited(
        path,
        "CREATE TRIGGER t AFTER INSERT ON history BEGIN"
        " DELETE FROM history WHERE seq = new.seq - 1; END",
    )
    ledger = SqliteLedger(path)
    ledger.load()
    with pytest.raises(LedgerError, match="FOREIGN KEY"):
        ledger.commit(AT_NS, [entry(ENTRIES)])
    ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM history").fetchone() == (ENTRIES - 1,)
