"""One process uses a database, by whatever name; and SQLite's own locks are left alone."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maxmemd.errors import LedgerBusy
from maxmemd.ledger.lock import exclusive_lock
from maxmemd.ledger.schema import engine
from tests.ledger.lines import AT_NS, entry, opened
from tests.support.process import ROOT

HOLDER = """
import sys
from pathlib import Path
from maxmemd.ledger.lock import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
BIND = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


@contextmanager
def held(path: Path, *before: object) -> Iterator[str]:
    """Hold the lock of a path in another process; give "held", or what it says instead."""
    command = [*map(str, before), sys.executable, "-c", HOLDER, str(path)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    said = process.stdout.readline().strip()
    try:
        yield said
    finally:
        _, error = process.communicate()
    if not said:
        assert "LedgerBusy" in error, error


def hard_link(database: Path) -> Path:
    """Name it in another folder."""
    name = database.parent / "hard" / "other.sqlite"
    name.parent.mkdir()
    name.hardlink_to(database)
    return name


def link(database: Path) -> Path:
    """Lead to it from another folder."""
    name = database.parent / "soft" / "other.sqlite"
    name.parent.mkdir()
    name.symlink_to(database)
    return name


def link_to_folder(database: Path) -> Path:
    """Lead to its folder."""
    folder = database.parent.with_name("led here")
    folder.symlink_to(database.parent)
    return folder / database.name


def by_itself(database: Path) -> Path:
    """Use its own name, after the lock file was deleted."""
    database.with_name(f"{database.name}.lock").unlink()
    return database


NAMES = (hard_link, link, link_to_folder, by_itself)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return the path of a ledger with an entry, in a folder of its own."""
    folder = tmp_path / "own"
    folder.mkdir()
    ledger = opened(folder / "ledger.sqlite")
    ledger.commit(AT_NS, [entry(1)])
    ledger.close()
    return folder / "ledger.sqlite"


@pytest.mark.parametrize("name", NAMES)
def test_a_second_process_is_refused_by_any_name(
    database: Path, name: Callable[[Path], Path]
) -> None:
    """While one holds the database no other gets it; then any name is as good."""
    with exclusive_lock(database):
        other = name(database)
        with held(other) as said:
            assert said == ""
    with held(other) as said:
        assert said == "held"
        with pytest.raises(LedgerBusy, match="another maxmemd"), exclusive_lock(database):
            pytest.fail("it was held twice")


def test_the_first_start_by_two_names_is_one(tmp_path: Path) -> None:
    """A link that leads to a database that is still to be made is that database."""
    name = tmp_path / "link.sqlite"
    name.symlink_to(tmp_path / "ledger.sqlite")
    with (
        held(name) as said,
        pytest.raises(LedgerBusy, match="by another name"),
        exclusive_lock(tmp_path / "ledger.sqlite"),
    ):
        pytest.fail("it was held twice")
    assert said == "held"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_second_process_is_refused_by_a_bind_mount(database: Path, tmp_path: Path) -> None:
    """The same file, mounted over another one, is the same database."""
    place = tmp_path / "mounted.sqlite"
    place.touch()
    unshared = ["unshare", "--mount", "sh", "-c", BIND, "sh", str(database), str(place)]
    if subprocess.run([*unshared, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    with exclusive_lock(database), held(place, *unshared) as said:
        assert said == ""
    with held(place, *unshared) as said:
        assert said == "held"


def test_a_second_name_is_warned_of(database: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A hard link has a WAL of its own, so that what a crash left in one name's is not found."""
    with exclusive_lock(database):
        assert not caplog.text
    hard_link(database)
    with exclusive_lock(database):
        assert f"{database} has another name, a hard link" in caplog.text


def locks_of(database: Path) -> list[str]:
    """Return the kinds of the locks that this process has on a file (proc_locks(5))."""
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    number = f":{database.stat().st_ino}"
    return sorted(
        line[1] for line in lines if line[4] == str(os.getpid()) and line[5].endswith(number)
    )


def test_sqlites_own_locks_are_left_alone(database: Path) -> None:
    """The ledger's connection keeps its lock while the place is checked and others are refused."""
    with exclusive_lock(database):
        assert locks_of(database) == ["FLOCK"]
        ledger = opened(database)
        reader = engine(database, read_only=True)
        both = ["FLOCK", "POSIX"]
        assert locks_of(database) == both
        ledger.commit(AT_NS, [entry(2)])
        with reader.begin() as connection:
            connection.exec_driver_sql("SELECT * FROM history").all()
        ledger.check_place()
        ledger.reopen()
        ledger.load()
        with held(database) as said:
            assert said == ""
        assert locks_of(database) == both
        ledger.close()
    assert locks_of(database) == []
