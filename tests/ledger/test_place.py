"""The ledger is the file that its path names: whatever becomes of it, nothing confirmed is lost."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from maxmemd.arbiter.messages import Granted
from maxmemd.errors import LedgerBusy, LedgerError, LedgerMoved
from maxmemd.ledger.follow import LedgerFollower
from maxmemd.ledger.place import OpenFiles, Place
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.policy.wishes import SetComponent
from maxmemd.units import Memory
from tests.ledger.lines import AT_NS, entry, opened, rows_of
from tests.support.ledgers import new_ledger
from tests.support.until import until
from tests.system.durability.workload import Bench

DM = ("device-model", "rom")


def rom(kib: int) -> SetComponent:
    """Return a wish."""
    return SetComponent(DM, Memory(kib=kib))


class Site:
    """A ledger in use by an arbiter, in a folder of its own, and a place beside that folder."""

    def __init__(self, root: Path) -> None:
        self.folder, self.aside = root / "state", root / "aside"
        self.folder.mkdir()
        self.database = self.folder / "ledger.sqlite"
        new_ledger(self.database)
        self.bench = Bench(self.database)
        self.bench.arbiter.start()
        self.kib = 0
        for _ in range(3):
            assert isinstance(self.ask(), Granted)

    def ask(self) -> Any:
        """Ask for a little more; what was granted is in `kib`."""
        answer = self.bench.turn((self.bench.uuids[0], rom(self.kib + 4)))[0]
        if isinstance(answer, Granted):
            self.kib += 4
        return answer

    def files(self) -> list[Path]:
        """Return the files of the ledger that its folder has."""
        return sorted(self.folder.glob("ledger.sqlite*"))

    def rescued(self) -> Path | None:
        """Return the copy that was made of a deleted database."""
        return next(iter(self.folder.glob("*.rescued-*")), None)

    def trouble(self) -> str:
        """Poll, and return what health says of the ledger."""
        with suppress(LedgerError):
            self.bench.arbiter.poll()
        return self.bench.arbiter.figures.ledger

    def kept(self, database: Path) -> int:
        """Return what a database, copied without any file beside it, has of what was granted."""
        alone = self.aside.with_name("alone.sqlite")
        shutil.copy(database, alone)
        assert LedgerReader(alone).check() > 0
        again = Bench(alone, self.bench.host)
        record = again.arbiter.records.get(again.uuids[0])
        assert record is not None
        found = record.amount(DM)
        again.close()
        assert found is not None
        return found.kib


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Give a site; its ledger is closed at the end."""
    made = Site(tmp_path)
    yield made
    made.bench.close()


def move_database(site: Site) -> Callable[[], None]:
    """`mv ledger.sqlite elsewhere`."""
    site.database.rename(site.aside)
    return lambda: back(site.aside, site.database)


def back(aside: Path, database: Path) -> None:
    """Put what was moved aside in its place again."""
    aside.rename(database)


def move_all(site: Site) -> Callable[[], None]:
    """`mv ledger.sqlite* elsewhere`."""
    site.aside.mkdir()
    names = [path.name for path in site.files()]
    for name in names:
        (site.folder / name).rename(site.aside / name)

    def put_back() -> None:
        for name in names:
            (site.aside / name).rename(site.folder / name)

    return put_back


def move_folder(site: Site) -> Callable[[], None]:
    """`mv` of the folder."""
    site.folder.rename(site.aside)
    return lambda: back(site.aside, site.folder)


def replace_folder(site: Site) -> Callable[[], None]:
    """Put another folder, with a ledger of its own, into its place."""
    other = site.folder.with_name("other")
    other.mkdir()
    opened(other / "ledger.sqlite").close()
    site.folder.rename(site.aside)
    other.rename(site.folder)

    def put_back() -> None:
        site.folder.rename(other)
        site.aside.rename(site.folder)

    return put_back


def replace_by_folder(site: Site) -> Callable[[], None]:
    """Make a folder of that name."""
    put_back = move_database(site)
    site.database.mkdir()

    def undo() -> None:
        site.database.rmdir()
        put_back()

    return undo


def replace_by_copy(site: Site) -> Callable[[], None]:
    """Put the same bytes there: what is written from now on would be missing in them."""
    put_back = move_database(site)
    shutil.copy(site.aside, site.database)
    return put_back


def replace_by_another(site: Site) -> Callable[[], None]:
    """Rename another ledger over it."""
    other = opened(site.folder.with_name("other.sqlite"))
    other.commit(AT_NS, [entry(1)])
    put_back = move_database(site)
    site.folder.with_name("other.sqlite").rename(site.database)
    other._database.connection.close()
    return put_back


def lead_through_file(site: Site) -> Callable[[], None]:
    """Make the folder a file: ENOTDIR."""
    put_back = move_folder(site)
    site.folder.touch()

    def undo() -> None:
        site.folder.unlink()
        put_back()

    return undo


def lead_in_a_circle(site: Site) -> Callable[[], None]:
    """Make the path a link to itself: the kernel refuses to look."""
    put_back = move_database(site)
    site.database.symlink_to(site.database)
    return put_back


MOVES = (
    move_database,
    move_all,
    move_folder,
    replace_folder,
    replace_by_folder,
    replace_by_copy,
    replace_by_another,
    lead_through_file,
    lead_in_a_circle,
)


@pytest.mark.parametrize("displace", MOVES)
def test_decisions_are_refused_until_the_file_is_back(
    site: Site, displace: Callable[[Site], Callable[[], None]]
) -> None:
    """A wish is LedgerMoved, health says so; once the file is back it goes on, and all is there."""
    put_back = displace(site)
    for _ in range(2):
        answer = site.ask()
        assert isinstance(answer, LedgerMoved), answer
        assert "move the one that was opened back" in str(answer)
        assert site.trouble().startswith("ledger-moved: cannot use the ledger: ")
    put_back()
    assert site.trouble() == "ok"
    assert isinstance(site.ask(), Granted)
    site.bench.arbiter.stop()
    assert site.kept(site.database) == site.kib


@pytest.mark.parametrize("displace", MOVES)
def test_an_idle_arbiter_notices_at_its_poll(
    site: Site, displace: Callable[[Site], Callable[[], None]]
) -> None:
    """Nothing has to be decided for it."""
    put_back = displace(site)
    assert site.trouble().startswith("ledger-moved: ")
    put_back()
    assert site.trouble() == "ok"


@pytest.mark.parametrize("displace", [move_database, replace_by_copy, replace_by_another])
def test_a_file_that_was_moved_is_whole_by_itself(
    site: Site, displace: Callable[[Site], Callable[[], None]]
) -> None:
    """All that was confirmed is in it, without its WAL, and what is in its place is left alone."""
    displace(site)
    now = site.database.read_bytes() if site.database.exists() else None
    assert site.trouble().startswith("ledger-moved: ")
    assert site.kept(site.aside) == site.kib
    with pytest.raises(LedgerMoved):
        site.bench.arbiter.stop()
    assert site.kept(site.aside) == site.kib
    assert (site.database.read_bytes() if site.database.exists() else None) == now


def delete_database(site: Site) -> None:
    """`rm ledger.sqlite`."""
    site.database.unlink()


def delete_all(site: Site) -> None:
    """`rm ledger.sqlite*`."""
    for path in site.files():
        path.unlink()


def rename_over(site: Site) -> None:
    """Rename a backup over the database."""
    other = site.folder.with_name("other.sqlite")
    opened(other).close()
    other.rename(site.database)


DELETIONS = (delete_database, delete_all, rename_over)


@pytest.mark.parametrize("delete", DELETIONS)
def test_what_a_deleted_file_held_is_saved(site: Site, delete: Callable[[Site], None]) -> None:
    """It is copied to a private file of another name; moved to the path it is the ledger."""
    delete(site)
    assert isinstance(site.ask(), LedgerMoved)
    until("it is saved", lambda: "what it held is in" in site.trouble())
    rescued = site.rescued()
    assert rescued is not None
    assert f"mv {rescued} {site.database}" in site.trouble()
    assert rescued.stat().st_mode & 0o777 == 0o600
    assert site.kept(rescued) == site.kib
    rescued.rename(site.database)
    assert site.trouble() == "ok"
    assert isinstance(site.ask(), Granted)
    site.bench.arbiter.stop()
    assert site.kept(site.database) == site.kib


@pytest.mark.parametrize("delete", DELETIONS)
def test_what_a_deleted_file_held_is_saved_at_the_stop(
    site: Site, delete: Callable[[Site], None]
) -> None:
    """Though no poll has noticed yet."""
    delete(site)
    with pytest.raises(LedgerMoved):
        site.bench.arbiter.stop()
    rescued = site.rescued()
    assert rescued is not None
    assert site.kept(rescued) == site.kib


def test_a_copy_replaces_no_earlier_one(site: Site) -> None:
    """That may be all there is of another ledger. A copy that was cut short is made again."""
    earlier, half = (site.folder / f"ledger.sqlite.rescued{end}" for end in ("-1", ".new"))
    for path in (earlier, half):
        path.write_text("kept")
    site.database.unlink()
    with pytest.raises(LedgerMoved):
        site.bench.arbiter.stop()
    assert earlier.read_text() == "kept"
    assert not half.exists()
    assert site.kept(site.folder / "ledger.sqlite.rescued-2") == site.kib


def test_a_copy_in_its_place_is_no_reason_for_another(site: Site) -> None:
    """A daemon may be stopped after the copy was moved to the path, and before it went on."""
    site.database.unlink()
    until("it is saved", lambda: "what it held is in" in site.trouble())
    rescued = site.rescued()
    assert rescued is not None
    rescued.rename(site.database)
    site.bench.close()
    assert site.rescued() is None
    assert site.kept(site.database) == site.kib


def test_a_saved_file_that_is_deleted_is_saved_again(site: Site) -> None:
    """So all names may go, and come back, more than once."""
    for _ in range(2):
        delete_all(site)
        until("it is saved", lambda: "what it held is in" in site.trouble())
    rescued = site.rescued()
    assert rescued is not None
    rescued.rename(site.database)
    assert site.trouble() == "ok"
    delete_all(site)
    until("it is saved", lambda: "what it held is in" in site.trouble())
    rescued = site.rescued()
    assert rescued is not None
    assert site.kept(rescued) == site.kib


def test_what_cannot_be_saved_is_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the folder is gone too the trouble says why; with the folder back it is saved."""
    shutil.rmtree(site.folder)
    until("it was tried", lambda: "cannot be saved beside it" in site.trouble())
    assert "do not stop maxmemd" in site.trouble()
    site.folder.mkdir()
    monkeypatch.setattr("maxmemd.ledger.rescue.AGAIN_S", 0.0)
    until("it is saved", lambda: "what it held is in" in site.trouble())
    rescued = site.rescued()
    assert rescued is not None
    assert site.kept(rescued) == site.kib


@pytest.mark.parametrize("names", [["-wal"], ["-shm"], ["-wal", "-shm"], ["-high-water"]])
@pytest.mark.parametrize("moved", [False, True])
def test_files_beside_it_are_made_again(site: Site, names: list[str], moved: bool) -> None:
    """What the WAL held goes into the database at once, and the next wish is granted."""
    for name in names:
        path = site.database.with_name(f"{site.database.name}{name}")
        path.rename(site.folder.with_name(name)) if moved else path.unlink()
    assert isinstance(site.ask(), Granted)
    assert site.trouble() == "ok"
    for name in names:
        assert site.database.with_name(f"{site.database.name}{name}").exists()
    site.bench.ledger._database.connection.close()  # as a kill: nothing is brought together
    again = Bench(site.database, site.bench.host)
    record = again.arbiter.records.get(again.uuids[0])
    assert record is not None
    assert record.amount(DM) == Memory(kib=site.kib)
    again.close()


def test_a_mark_that_cannot_be_made_again_is_logged_once(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """It is an additional check: decisions go on."""
    path = site.database.with_name(f"{site.database.name}-high-water")
    path.unlink()
    path.mkdir()
    for _ in range(2):
        assert isinstance(site.ask(), Granted)
    assert caplog.text.count(f"cannot write {path}: Is a directory") == 1
    path.rmdir()
    assert isinstance(site.ask(), Granted)
    assert path.is_file()


@pytest.mark.parametrize("name", ["-wal", "-shm"])
def test_a_foreign_file_beside_it_is_left_alone(site: Site, name: str) -> None:
    """SQLite would read or delete it: decisions wait until it is moved away."""
    path = site.database.with_name(f"{site.database.name}{name}")
    path.unlink()
    path.write_bytes(b"another program's")
    answer = site.ask()
    assert isinstance(answer, LedgerMoved)
    assert f"{path} is another file than the one that was opened: move it away" in str(answer)
    assert path.read_bytes() == b"another program's"
    path.unlink()
    assert site.trouble() == "ok"
    assert isinstance(site.ask(), Granted)


def test_a_commit_into_a_file_that_went_meanwhile_is_not_confirmed(site: Site) -> None:
    """It is refused, though it was written; with the file back it is found, once."""
    engine = site.bench.ledger._database._engine

    @sa.event.listens_for(engine, "commit", once=True)
    def move(_: sa.Connection) -> None:
        site.database.rename(site.aside)

    refused = site.ask()
    assert isinstance(refused, LedgerMoved)
    site.aside.rename(site.database)
    site.bench.keys -= 1
    assert isinstance(site.ask(), Granted)
    assert site.trouble() == "ok"
    uuid = site.bench.uuids[0]
    rows = rows_of(LedgerReader(site.database).history, uuid)
    assert sum(row.key == f"0:wish-{site.bench.keys}" for row in rows) == 1


def test_a_link_may_lead_to_the_ledger(tmp_path: Path) -> None:
    """The file behind it counts, with those beside that file; a link led elsewhere is seen."""
    real, link = tmp_path / "real.sqlite", tmp_path / "link.sqlite"
    opened(real).close()
    link.symlink_to(real)
    ledger = opened(link)
    ledger.commit(AT_NS, [entry(1)])
    ledger.check_place()
    opened(tmp_path / "other.sqlite").close()
    link.unlink()
    link.symlink_to(tmp_path / "other.sqlite")
    with pytest.raises(LedgerMoved, match="is another file"):
        ledger.commit(AT_NS, [entry(2)])
    link.unlink()
    link.symlink_to(real)
    ledger.check_place()
    Path(f"{real}-wal").unlink()
    with pytest.raises(LedgerMoved, match=r"real\.sqlite-wal was deleted"):
        ledger.check_place()
    ledger.close()


def test_a_stop_brings_everything_into_the_database(site: Site) -> None:
    """`ledger.sqlite` alone is whole, and nothing that belongs to it is left beside it."""
    site.bench.arbiter.stop()
    names = [path.name for path in site.files()]
    assert names == ["ledger.sqlite", "ledger.sqlite-high-water"]
    assert site.kept(site.database) == site.kib


def test_a_stop_beside_a_reader_brings_everything_into_the_database(site: Site) -> None:
    """Of several connections the last one removes the WAL; the writer needs not be that."""
    with LedgerReader(site.database)._engine.connect() as reader:
        reader.exec_driver_sql("SELECT 1 FROM history").all()
        reader.rollback()
        site.bench.arbiter.stop()
        assert site.kept(site.database) == site.kib


def test_reopening_brings_the_wal_into_the_database(tmp_path: Path) -> None:
    """Pages that a failed sync may have lost are written again, also beside another connection."""
    ledger = opened(tmp_path / "ledger.sqlite")
    ledger.commit(AT_NS, [entry(1), entry(2)])
    with LedgerReader(tmp_path / "ledger.sqlite")._engine.connect() as reader:
        reader.exec_driver_sql("SELECT 1 FROM history").all()
        reader.rollback()
        ledger.reopen()  # closing does it only if no other connection is open
        assert (tmp_path / "ledger.sqlite-wal").stat().st_size == 0
        shutil.copy(tmp_path / "ledger.sqlite", tmp_path / "alone.sqlite")
        assert LedgerReader(tmp_path / "alone.sqlite").check() == 2
    ledger.close()


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[tuple[SqliteLedger, sa.Connection, Path]]:
    """Give a ledger that waits for no reader, one that reads it as it was, and its path."""
    path = tmp_path / "ledger.sqlite"
    ledger = opened(path, busy_ms=1)
    ledger.commit(AT_NS, [entry(1)])
    with LedgerReader(path)._engine.connect() as reader:
        assert len(reader.exec_driver_sql("SELECT 1 FROM history").all()) == 1
        ledger.commit(AT_NS, [entry(2)])
        yield ledger, reader, path
    ledger.close()


@pytest.mark.parametrize("beside", ["", "-wal"])
def test_a_reader_that_keeps_the_wal_is_waited_for(
    impatient: tuple[SqliteLedger, sa.Connection, Path], beside: str
) -> None:
    """What only the WAL has is not let go before it is in the database."""
    ledger, reader, path = impatient
    if beside:
        Path(f"{path}{beside}").unlink()
    with pytest.raises(LedgerBusy, match="a reader holds its WAL"):
        ledger.reopen()
    reader.rollback()
    ledger.reopen()
    assert ledger.load().extent == (2, 0)


def test_a_stop_beside_a_long_read_tells_where_the_rest_is(
    impatient: tuple[SqliteLedger, sa.Connection, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """A reader of another process may keep part of the WAL from the database."""
    ledger, reader, path = impatient
    ledger.close()
    assert f"a reader keeps part of the ledger in {path}-wal" in caplog.text
    reader.rollback()
    assert LedgerReader(path).check() == 2


def test_a_database_that_goes_while_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an error like any other of opening."""
    path = tmp_path / "ledger.sqlite"
    opened(path).close()

    def gone(_: Path) -> OpenFiles:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("maxmemd.ledger.connection.OpenFiles", gone)
    with pytest.raises(LedgerError, match=r"cannot open the ledger .*: No such file"):
        opened(path)


def test_readers_tell_nothing_of_another_file(tmp_path: Path) -> None:
    """The history and the events of another ledger are not this one's; with it back they read."""
    path, aside = tmp_path / "ledger.sqlite", tmp_path / "aside"
    opened(path).close()
    place = Place()
    ledger = SqliteLedger(path, place=place)
    ledger.load()
    ledger.commit(AT_NS, [entry(1)])
    reads = (LedgerReader(path, place).check, LedgerFollower(path, place).end)
    found = [read() for read in reads]
    other = opened(tmp_path / "other.sqlite")
    other.commit(AT_NS, [entry(1), entry(2)])
    other.close()
    path.rename(aside)
    (tmp_path / "other.sqlite").rename(path)
    for read in reads:
        with pytest.raises(LedgerMoved, match=r"cannot read the ledger: .* is another file"):
            read()
    aside.rename(path)
    ledger.check_place()
    assert [read() for read in reads] == found
    ledger.close()
