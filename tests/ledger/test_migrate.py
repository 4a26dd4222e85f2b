"""Migrations: the tables that they make, the way there and back, and what is refused."""

import json
import os
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from shutil import copytree

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from maxmemd.errors import LedgerCorrupt, LedgerError, LedgerTooNew
from maxmemd.ledger import migrate as migration
from maxmemd.ledger.migrate import HEAD, migrate, revision_of, scripts
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.schema import METADATA, engine
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.policy.codec import build_from_text
from maxmemd.policy.entries import SETTLED_BUILD, BuildState
from maxmemd.policy.states import BuildPhase
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
    seqs_of,
)

LATER = f"{int(HEAD) + 1:04}"


def config_of(connection: sa.Connection, directory: Path | None = None) -> Config:
    """Return Alembic's configuration as `migrate` makes it, with the tables of today."""
    config = Config()
    config.set_main_option("script_location", str(directory or scripts()))
    config.attributes.update(connection=connection, metadata=METADATA)
    return config


def tables(path: Path) -> dict[str, str]:
    """Return what the database says of itself."""
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL"))


def later_scripts(tmp_path: Path, body: str) -> Path:
    """Return the migrations with one more, LATER, whose upgrade does `body`."""
    directory = tmp_path / "migrations"
    copytree(scripts(), directory)
    (directory / "versions" / f"{LATER}_later.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n\n"
        f"revision = '{LATER}'\ndown_revision = '{HEAD}'\n\n\ndef upgrade():\n    {body}\n",
        encoding="utf-8",
    )
    return directory


def test_head_is_the_newest_script() -> None:
    """The revision that the program knows as the newest is the newest of the scripts."""
    assert ScriptDirectory(str(scripts())).get_heads() == [HEAD]


def test_migrations_and_tables_agree(tmp_path: Path) -> None:
    """`alembic check` finds no difference between the migrations and ledger/tables.py."""
    path = tmp_path / "l.sqlite"
    migrate(path)
    with engine(path).begin() as connection:
        command.check(config_of(connection))


def test_up_down_up(tmp_path: Path) -> None:
    """Downgrading leaves no table of ours, and upgrading again makes the same ones."""
    path = tmp_path / "l.sqlite"
    migrate(path)
    first = tables(path)
    with engine(path).begin() as connection:
        command.downgrade(config_of(connection), "base")
    assert set(tables(path)) == {"alembic_version"}
    assert revision_of(path) is None
    with engine(path).begin() as connection:
        command.upgrade(config_of(connection), "head")
    assert tables(path) == first


def test_lines_of_before_learn_their_prior(tmp_path: Path) -> None:
    """A ledger of revision 0001 goes on whole, with what 0002 adds."""
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    ledger.commit(AT_NS, [entry(1), entry(1, OTHER), note(1), entry(2), note(1, OTHER)])
    ledger.commit(AT_NS, [note(9)], forgotten=[UUID])
    ledger.close()
    wanted = rows(path)
    with engine(path).begin() as connection:
        command.downgrade(config_of(connection), "0001")
    assert [name for name in tables(path) if name == "journal_by_uuid"]
    migrate(path)
    assert rows(path) == wanted
    assert LedgerReader(path).check() == 6
    assert seqs_of(LedgerReader(path).history, UUID, limit=9) == [6, 4, 3, 1]


def test_instances_of_before_have_no_build(tmp_path: Path) -> None:
    """A ledger of revision 0002 goes on, and back; its instances are known, as they were."""
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    ledger.commit(AT_NS, [entry(1)], instances=[instance(1)._replace(build=BUILD)])
    ledger.close()
    with engine(path).begin() as connection:
        command.downgrade(config_of(connection), "0002")
    assert "birth" not in tables(path)["instance"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM journal").fetchone() == (1,)
    copy = tmp_path / f"l.sqlite.before-{HEAD}-at-0002"
    assert migrate(path).endswith(f"the database as it was is in {copy}")
    ledger = SqliteLedger(path)
    assert ledger.load().instances == (instance(1),)
    ledger.commit(AT_NS, [], instances=[instance(1)._replace(build=BUILD)])
    assert ledger.load().instances == (instance(1)._replace(build=BUILD),)
    ledger.close()


@pytest.mark.parametrize(
    ("state", "birth", "push_state", "build", "drift_pages"),
    [
        ("applied", None, "applied", None, None),
        ("over_limit", None, "over-limit", None, None),
        ("drifted", None, "pending", None, 0),
        ("pending", (False, True, False, None, None), "pending", ("undecided", None, None), None),
        ("failed", (True, True, False, None, None), "failed", ("following", None, None), None),
        ("applied", (False, False, True, 8, 4), "applied", ("announced", 8, 4), None),
        ("applied", (False, False, False, 8, 4), "applied", ("settled", 8, 4), None),
    ],
)
def test_instances_of_before_have_a_push_state_and_a_build(  # noqa: PLR0917 - the row
    tmp_path: Path,
    state: str,
    birth: tuple[object, ...] | None,
    push_state: str,
    build: tuple[str, int | None, int | None] | None,
    drift_pages: int | None,
) -> None:
    """An instance of revision 0003 is what it was, in the words of 0004, and its seals hold."""
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    ledger.commit(AT_NS, [entry(1)], instances=[instance(1)])
    ledger.close()
    names = ("tracking", "unsure", "announced", "theirs_pages", "ours_pages")
    text = None if birth is None else json.dumps(dict(zip(names, birth, strict=True)))
    sealed = None if text is None else f"{zlib.crc32(text.encode()):08x} {text}"
    with engine(path).begin() as connection:
        command.downgrade(config_of(connection), "0003")
        connection.exec_driver_sql("UPDATE instance SET state = ?, birth = ?", (state, sealed))
    migrate(path)
    ledger = SqliteLedger(path)
    [row] = ledger.load().instances
    ledger.close()
    wanted = SETTLED_BUILD if build is None else BuildState(BuildPhase(build[0]), *build[1:])
    assert (row.push_state, row.drift_pages) == (push_state, drift_pages)
    assert (build_from_text(row.build), row.effects) == (wanted, instance(1).effects)


def test_a_damaged_build_is_still_seen_to_be_damaged(tmp_path: Path) -> None:
    """A migration refuses to put a new seal on what is not as it was written."""
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    ledger.commit(AT_NS, [entry(1)], instances=[instance(1)])
    ledger.close()
    with engine(path).begin() as connection:
        command.downgrade(config_of(connection), "0003")
        connection.exec_driver_sql("UPDATE instance SET birth = '00000000 {\"unsure\":true}'")
    with pytest.raises(LedgerCorrupt, match="is not as it was written"):
        migrate(path)


def test_going_back_to_births(tmp_path: Path) -> None:
    """A ledger that is taken back to 0003 and up again keeps its builds."""
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    row = instance(1)._replace(build=BUILD)
    ledger.commit(AT_NS, [entry(1)], instances=[row])
    ledger.close()
    with engine(path).begin() as connection:
        command.downgrade(config_of(connection), "0003")
    migrate(path)
    ledger = SqliteLedger(path)
    assert ledger.load().instances == (row,)
    ledger.close()


def rows(path: Path) -> tuple[list[object], list[object]]:
    """Return the whole history, and where each domain stands in it."""
    with closing(sqlite3.connect(path)) as connection:
        lines = connection.execute("SELECT * FROM history ORDER BY seq").fetchall()
        heads = connection.execute("SELECT * FROM record ORDER BY uuid").fetchall()
    return lines, heads


def test_a_new_database_needs_no_backup(tmp_path: Path) -> None:
    """Where there is none a database is made; a second time nothing is done."""
    path = tmp_path / "l.sqlite"
    assert migrate(path) == f"{path} is at revision {HEAD} now"
    assert revision_of(path) == HEAD
    assert migrate(path) == f"{path} is at revision {HEAD} already"
    assert list(path.parent.glob("*before*")) == []


@pytest.mark.parametrize("made", [False, True])
def test_an_empty_file_is_no_database_yet(tmp_path: Path, *, made: bool) -> None:
    """An empty file, and a database without a table, are migrated like none."""
    path = tmp_path / "l.sqlite"
    path.touch()
    if made:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript("CREATE TABLE t (x); DROP TABLE t;")
    assert revision_of(path) is None
    migrate(path)
    assert revision_of(path) == HEAD


def test_a_backup_is_taken_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a migration changes a database, a copy is kept beside it that holds every line."""
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    ledger.commit(AT_NS, [entry(1), entry(2)])
    ledger.close()
    directory = later_scripts(tmp_path, "op.add_column('push', sa.Column('later', sa.Text))")
    monkeypatch.setattr(migration, "HEAD", LATER)
    monkeypatch.setattr(migration, "scripts", lambda: directory)

    said = migrate(path)

    copy = tmp_path / f"l.sqlite.before-{LATER}-at-{HEAD}"
    assert said == f"{path} is at revision {LATER} now; the database as it was is in {copy}"
    assert (revision_of(path), revision_of(copy)) == (LATER, HEAD)
    assert LedgerReader(copy).check() == LedgerReader(path).check() == 2
    assert "later" in tables(path)["push"]
    assert "later" not in tables(copy)["push"]


def test_a_backup_is_on_the_disk_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy and its folder are synced before anything changes; where they cannot be, nothing is.

    Else a power cut could bring back the copy's own journal, which undoes it.
    """
    path = tmp_path / "l.sqlite"
    opened(path).close()
    with engine(path).begin() as connection:
        command.downgrade(config_of(connection), "0002")
    copy = tmp_path / f"l.sqlite.before-{HEAD}-at-0002"
    steps: list[object] = []
    sync, upgrade = os.fsync, migration._upgrade

    def synced(descriptor: int) -> None:
        steps.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    def upgraded(path: Path) -> None:
        steps.append("upgraded")
        upgrade(path)

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(migration, "_upgrade", upgraded)
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(
        LedgerError, match=f"cannot back {path} up to {copy}.new: Input/output error"
    ):
        migrate(path)
    assert (revision_of(path), steps) == ("0002", [])
    monkeypatch.setattr(os, "fsync", synced)
    migrate(path)
    new = copy.with_name(f"{copy.name}.new")
    assert (revision_of(path), steps[:4]) == (HEAD, [new, tmp_path, tmp_path, "upgraded"])


def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a ledger whose migration fails each time; return where its copy is."""
    ledger = opened(tmp_path / "l.sqlite")
    ledger.commit(AT_NS, [entry(1)], instances=[instance(1)])
    ledger.close()
    directory = later_scripts(tmp_path, "op.execute('SELECT * FROM nowhere')")
    monkeypatch.setattr(migration, "HEAD", LATER)
    monkeypatch.setattr(migration, "scripts", lambda: directory)
    return tmp_path / f"l.sqlite.before-{LATER}-at-{HEAD}"


def test_a_migration_that_fails_again_keeps_its_first_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that is restarted ten times a second writes one copy, and leaves nothing else."""
    path, copy = tmp_path / "l.sqlite", failing(tmp_path, monkeypatch)
    (tmp_path / f"{copy.name}.new").write_bytes(b"cut short by a crash")
    found = set()
    for _ in range(3):
        with pytest.raises(LedgerError, match="nowhere"):
            migrate(path)
        found.add((copy.stat().st_ino, copy.stat().st_mtime_ns))
    assert len(found) == 1
    assert [one.name for one in tmp_path.glob("*before*")] == [copy.name]


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO push VALUES (NULL, 1, 'u', 1, 1, 1, 1, 1, 0, 1, 0, 1)",
        "UPDATE instance SET push_state = 'failed'",
        "DELETE FROM instance",
    ],
)
def test_what_was_written_since_is_in_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The former maxmemd may have run in between: then the copy is made again."""
    path, copy = tmp_path / "l.sqlite", failing(tmp_path, monkeypatch)
    for _ in range(2):
        with pytest.raises(LedgerError, match="nowhere"):
            migrate(path)
        with closing(sqlite3.connect(path)) as now, closing(sqlite3.connect(copy)) as kept:
            assert "".join(kept.iterdump()) == "".join(now.iterdump())
            now.execute(change)
            now.commit()


def test_a_copy_that_is_damaged_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a copy, of a maxmemd that was killed, is no reason to go on without one."""
    path, copy = tmp_path / "l.sqlite", failing(tmp_path, monkeypatch)
    copy.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(LedgerError, match="nowhere"):
        migrate(path)
    assert LedgerReader(copy).check() == 1


def test_a_failing_migration_is_rolled_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that fails half-way leaves tables, lines and revision as they were."""
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    ledger.commit(AT_NS, [entry(1)])
    ledger.close()
    before = tables(path)
    body = "op.create_table('half', sa.Column('x', sa.Text)); op.execute('SELECT * FROM nowhere')"
    directory = later_scripts(tmp_path, body)
    monkeypatch.setattr(migration, "HEAD", LATER)
    monkeypatch.setattr(migration, "scripts", lambda: directory)
    with pytest.raises(LedgerError, match=r"cannot migrate .*no such table: nowhere"):
        migrate(path)
    assert (tables(path), revision_of(path)) == (before, HEAD)
    assert LedgerReader(path).check() == 1


def test_a_later_maxmemds_database_is_refused(tmp_path: Path) -> None:
    """A database at a revision that this program does not know is not touched."""
    path = tmp_path / "l.sqlite"
    migrate(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(LedgerTooNew, match=f"it is at revision 9999, this maxmemd knows .* {HEAD}"):
        migrate(path)
    assert path.read_bytes() == before


def test_a_revision_that_never_was(tmp_path: Path) -> None:
    """A database at a revision that no script has is LedgerCorrupt, and is left alone."""
    path = tmp_path / "l.sqlite"
    migrate(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
        connection.commit()
    with pytest.raises(LedgerCorrupt, match=r"cannot migrate .*0000"):
        migrate(path)
    assert revision_of(path) == "0000"


def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    """Some other program's database is not touched."""
    path = tmp_path / "l.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE songs (title)")
    with pytest.raises(LedgerCorrupt, match="another program's database"):
        migrate(path)
    assert set(tables(path)) == {"songs"}


def test_rubbish_is_refused(tmp_path: Path) -> None:
    """A file that is no database is LedgerCorrupt; one that cannot be opened LedgerError."""
    path = tmp_path / "l.sqlite"
    path.write_bytes(b"rubbish" * 999)
    with pytest.raises(LedgerCorrupt, match="cannot open the ledger"):
        migrate(path)
    with pytest.raises(LedgerError, match="cannot open the ledger"):
        migrate(tmp_path)


def test_scripts_are_found_inside_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package carries its migrations inside; a checkout has them beside it."""
    assert scripts().parent == Path(migration.__file__).resolve().parent.parent.parent
    (tmp_path / "maxmemd" / "migrations").mkdir(parents=True)
    monkeypatch.setattr(migration, "__file__", str(tmp_path / "maxmemd" / "ledger" / "m.py"))
    assert scripts() == tmp_path / "maxmemd" / "migrations"


def test_entries_of_before_are_found_by_the_indices(tmp_path: Path) -> None:
    """A ledger of revision 0007 goes on with its entries as they are, and back: all are found."""
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    for first in range(1, 1000, 100):
        ledger.commit(AT_NS, [entry(n) for n in range(first, first + 100)], pushes=[push(first)])
    ledger.close()
    wanted = rows(path)
    with engine(path).begin() as connection:
        command.downgrade(config_of(connection), "0007")
    assert "history_milestones" not in tables(path)
    migrate(path)
    assert rows(path) == wanted
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT count(*) FROM history INDEXED BY history_milestones WHERE hash < x'04'"
        assert connection.execute(query).fetchone()[0] > 5
    reader = LedgerReader(path)
    assert reader.made_by(UUID, [3, 500], 0)[500].seq == 500
    assert seqs_of(reader.history, UUID, limit=2, before=700) == [699, 698]
    assert seqs_of(reader.pushes, UUID, limit=2) == [10, 9]


INDICES = sorted(str(one.name) for table in METADATA.sorted_tables for one in table.indexes)


@pytest.mark.parametrize("name", INDICES)
def test_a_missing_index_is_named_at_the_start(tmp_path: Path, name: str) -> None:
    """Without it reads would go through a whole table; the sentence has what makes it again."""
    path = tmp_path / "l.sqlite"
    opened(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"DROP INDEX {name}")
    with pytest.raises(LedgerCorrupt, match=f"its index {name} is missing") as refused:
        opened(path)
    mend = str(refused.value).partition("make it again: ")[2].partition("; see")[0]
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(mend)
    opened(path).close()


def test_no_other_user_may_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the umask: the ledger, what SQLite makes beside it, a backup, are the owner's."""
    path = tmp_path / "home" / "l.sqlite"
    path.parent.mkdir()
    directory = later_scripts(tmp_path, "op.add_column('push', sa.Column('later', sa.Text))")
    before = os.umask(0)
    try:
        ledger = opened(path)
        ledger.commit(AT_NS, [entry(1)])
        modes = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
        ledger.close()
        monkeypatch.setattr(migration, "HEAD", LATER)
        monkeypatch.setattr(migration, "scripts", lambda: directory)
        migrate(path)
    finally:
        os.umask(before)
    assert {"l.sqlite", "l.sqlite-wal", "l.sqlite-shm"} <= modes.keys()
    modes |= {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_where_no_file_can_be_made(tmp_path: Path) -> None:
    """A path that is a folder, or below a file, is an error with a message."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "l.sqlite", tmp_path / "file" / "deep" / "l.sqlite"):
        with pytest.raises(LedgerError, match="cannot create"):
            migrate(path)
