"""Use a ledger on a disk that is full, nearly full, or has no inode left: what each try ended with.

    python -m tests.support.cramped DIRECTORY

The directory is a small file system of its own (`small_disk`). The result is printed as JSON.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maxmemd.errors import LedgerError
from maxmemd.ledger.migrate import migrate
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.schema import as_ledger_errors
from maxmemd.ledger.space import has_no_room
from maxmemd.ledger.writer import SqliteLedger
from tests.ledger.lines import AT_NS, entry, opened

PAGE = 4096
MOST_PAGES_LEFT = 40
"""With so much left a ledger opens; with less its files meet the end one after the other."""
COMMITS = 60


def small_disk(directory: Path, *options: str) -> list[str]:
    """Return what to put before a command that sees a small disk of its own at `directory`."""
    mount = f"mount -t tmpfs -o {','.join(('size=4m', *options))} none {directory}"
    return ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh"]


def can_mount() -> bool:
    """Whether this user can mount a tmpfs in a private mount namespace."""
    if shutil.which("unshare") is None:
        return False
    words = [*small_disk(Path("/mnt")), "true"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def results() -> list[str]:
    """Return the names of SQLite's result codes that stand for an I/O error or no open file."""
    kinds = ("SQLITE_IOERR", "SQLITE_CANTOPEN")
    return [name for name in dir(sqlite3) if name.startswith(kinds)]


def kind_of(database: Path, result: str) -> str:
    """Return as which code an error of SQLite with this result is raised."""
    error = sqlite3.OperationalError("made")
    error.sqlite_errorname = result
    try:
        with as_ledger_errors(database, "try"):
            raise error
    except LedgerError as found:
        return found.code


@contextmanager
def left(disk: Path, pages: int) -> Iterator[None]:
    """Fill the disk, but for some pages."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(PAGE))
    with ballast.open("rb+") as file:
        file.truncate(max(0, ballast.stat().st_size - pages * PAGE))
    yield
    ballast.unlink()


@contextmanager
def no_inodes(disk: Path) -> Iterator[None]:
    """Take every inode of the disk."""
    made = []
    with suppress(OSError):
        while True:
            made.append(disk / f"file-{len(made)}")
            made[-1].touch()
    yield
    for path in made:
        path.unlink(missing_ok=True)


def use(database: Path) -> list[str]:
    """Open a ledger, write to it, open it again, read it; return every error's code and text."""
    found = []
    try:
        ledger = SqliteLedger(database)
    except LedgerError as error:
        return [f"{error.code}: {error}"]
    for step in (ledger.load, lambda: fill(ledger), ledger.reopen, LedgerReader(database).check):
        try:
            step()
        except LedgerError as error:
            found.append(f"{error.code}: {error}")
    with suppress(LedgerError):
        ledger.close()
    return found


def fill(ledger: SqliteLedger) -> None:
    """Commit until there is no space, or long enough."""
    for _ in range(COMMITS):
        ledger.commit(AT_NS, [entry(n) for n in range(50)])


def sweep(disk: Path) -> Counter[str]:
    """Use a ledger with ever more pages left, and count the errors."""
    database, found = disk / "ledger.sqlite", Counter[str]()
    with (disk.parent / "whole.sqlite").open("rb") as file:
        whole = file.read()
    for pages in range(0, MOST_PAGES_LEFT, 2):
        clear(disk)
        database.write_bytes(whole)
        with left(disk, pages):
            found.update(use(database))
        after = SqliteLedger(database)
        after.load()
        after.commit(AT_NS, [entry(1)])
        after.close()
        LedgerReader(database).check()
    return found


def clear(disk: Path) -> None:
    """Remove every file of the disk."""
    for path in disk.iterdir():
        path.unlink()


def made(disk: Path) -> list[str]:
    """Make a ledger with ever more pages left; return the errors."""
    found = []
    for pages in range(0, MOST_PAGES_LEFT, 4):
        database = disk / f"made-{pages}" / "ledger.sqlite"
        database.parent.mkdir()
        with left(disk, pages):
            try:
                migrate(database)
            except LedgerError as error:
                found.append(f"{error.code}: {error}")
        shutil.rmtree(database.parent, ignore_errors=True)
    return found


def main(disk: Path) -> None:
    """Print what was found."""
    whole = disk.parent / "whole.sqlite"
    opened(whole).close()
    shown: dict[str, object] = {"roomy": has_no_room(disk)}
    with left(disk, 0):
        shown["full"] = has_no_room(disk)
        shown["codes"] = {result: kind_of(disk / "l.sqlite", result) for result in results()}
    shown["errors"] = sweep(disk)
    clear(disk)
    shown["made"] = made(disk)
    shutil.copy(whole, disk / "ledger.sqlite")
    with no_inodes(disk):
        shown["no inodes"] = use(disk / "ledger.sqlite")
    print(json.dumps(shown))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
