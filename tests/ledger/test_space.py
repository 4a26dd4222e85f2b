"""A full disk is ledger-full, whichever error SQLite makes of it; any other trouble is not."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from maxmemd.errors import LedgerError, LedgerFull
from maxmemd.ledger import space
from maxmemd.ledger.high_water import HighWaterMark
from maxmemd.ledger.lock import exclusive_lock
from maxmemd.ledger.migrate import migrate
from tests.ledger.lines import opened
from tests.support.cramped import can_mount, kind_of, results, small_disk

ROOT = Path(__file__).resolve().parents[2]
INODES = 64
needs_mount = pytest.mark.skipif(not can_mount(), reason="no right to mount a tmpfs")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give what a ledger on a small disk met (cramped.py)."""
    disk = tmp_path_factory.mktemp("cramped") / "disk"
    disk.mkdir()
    command = [sys.executable, "-m", "tests.support.cramped", str(disk)]
    before = small_disk(disk, f"nr_inodes={INODES}")
    done = subprocess.run(
        [*before, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


@needs_mount
def test_the_disk_is_asked(found: dict[str, Any]) -> None:
    """A file is tried, so that nothing is taken for full before it is."""
    assert (found["roomy"], found["full"]) == (False, True)


@needs_mount
def test_on_a_full_disk_every_io_error_is_full(found: dict[str, Any]) -> None:
    """Every result code that SQLite has for an I/O error, or for a file that does not open."""
    assert "SQLITE_IOERR_SHMSIZE" in found["codes"]
    assert found["codes"] == dict.fromkeys(results(), "ledger-full")


@needs_mount
def test_wherever_the_disk_ends_it_is_full(found: dict[str, Any]) -> None:
    """With ever more pages left, from opening to checking: SQLite itself, no made errors."""
    errors = found["errors"]
    assert {said.split(":")[0] for said in errors} == {"ledger-full"}
    for result in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"):
        assert any(said.endswith(f"({result})") for said in errors), errors


@needs_mount
def test_a_ledger_that_cannot_be_made_is_full(found: dict[str, Any]) -> None:
    """The folder, the file, the tables: whichever of them meets the end."""
    assert {said.split(":")[0] for said in found["made"]} == {"ledger-full"}


@needs_mount
def test_a_disk_without_inodes_is_full(found: dict[str, Any]) -> None:
    """SQLite cannot create its WAL, and says that it cannot open the database."""
    assert found["no inodes"], "it opened"
    assert {said.split(":")[0] for said in found["no inodes"]} == {"ledger-full"}


@pytest.mark.parametrize("result", results())
def test_an_io_error_on_a_disk_with_room_is_a_failure(tmp_path: Path, result: str) -> None:
    """The disk is sick then, not full; nor is a directory that is not there."""
    assert kind_of(tmp_path / "l.sqlite", result) == "ledger-failed"
    assert kind_of(tmp_path / "nowhere" / "l.sqlite", result) == "ledger-failed"


@pytest.mark.parametrize(
    ("number", "full"),
    [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False), (errno.EROFS, False)],
)
def test_a_sync_may_be_what_finds_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, full: bool
) -> None:
    """A network file system or a thin volume says only then that there is no room."""

    def fails(_: int) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(space.os, "fsync", fails)
    assert space.has_no_room(tmp_path) is full
    assert kind_of(tmp_path / "l.sqlite", "SQLITE_IOERR_FSYNC") == (
        "ledger-full" if full else "ledger-failed"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "kind"), [(errno.EDQUOT, LedgerFull), (errno.EIO, LedgerError)])
def test_what_the_kernel_says_of_our_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[LedgerError]
) -> None:
    """The lock, the database, its witness and the copy before a migration are made by us."""
    database = tmp_path / "l.sqlite"
    opened(database).close()

    def fails(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(LedgerError) as witness:
        HighWaterMark(database)
    with pytest.raises(LedgerError) as owner, exclusive_lock(database):
        pass
    with pytest.raises(LedgerError) as made:
        migrate(tmp_path / "new.sqlite")
    assert {type(raised.value) for raised in (witness, owner, made)} == {kind}
