"""A ledger belongs to one kind of host, and the other kind refuses it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from maxmemd.config.file import load, parse
from maxmemd.config.host import simulated_folder
from maxmemd.config.settings import DEFAULT_DATABASE, DEFAULT_SOCKET, Config
from maxmemd.errors import ConfigError
from maxmemd.files import OWN_FOLDERS
from maxmemd.ledger.backup import backup
from maxmemd.ledger.host import MARKS, check_host, mark_host
from tests.ledger.lines import AT_NS, entry, instance, opened

BOOT = "0b6f1e5a-8c1d-4e53-9a34-1f6c5b2d7e90"
SIMULATED = "simulated-4711"


@pytest.mark.parametrize("simulated", [True, False])
def test_a_marked_ledger_is_refused_by_the_other_kind(tmp_path: Path, *, simulated: bool) -> None:
    """The sentence says what it is and what to write; a copy is marked as well."""
    path, copy = tmp_path / "l.sqlite", tmp_path / "copy"
    opened(path).close()
    mark_host(path, simulated=simulated)
    mark_host(path, simulated=not simulated)  # the first mark stays
    backup(path, copy)
    for database in (path, copy):
        check_host(database, simulated=simulated)
        with pytest.raises(ConfigError, match=rf"cannot use {database}: .*--database FILE"):
            check_host(database, simulated=not simulated)


@pytest.mark.parametrize(
    ("boots", "refused"),
    [
        ([], set()),
        (["one-boot"], set()),
        ([BOOT], {True}),
        ([SIMULATED], {False}),
        ([SIMULATED, BOOT], {True}),
    ],
)
def test_an_older_ledger_is_known_by_its_boots(
    tmp_path: Path, boots: list[str], refused: set[bool]
) -> None:
    """One with a real boot is Xen's, also where a simulated host had been let write to it."""
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    rows = [instance(n)._replace(incarnation=n, boot=boot) for n, boot in enumerate(boots, 1)]
    ledger.commit(AT_NS, [entry(1)], instances=rows)
    ledger.close()
    found = set()
    for simulated in (True, False):
        try:
            check_host(path, simulated=simulated)
        except ConfigError:
            found.add(simulated)
    assert found == refused


@pytest.mark.parametrize("made", ["missing", "empty", "bare"])
def test_where_there_is_nothing_yet(tmp_path: Path, made: str) -> None:
    """A new ledger is either's."""
    path = tmp_path / "l.sqlite"
    if made != "missing":
        path.touch()
    if made == "bare":
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript("CREATE TABLE t (x); DROP TABLE t;")
    for simulated in MARKS:
        check_host(path, simulated=simulated)


def test_a_simulated_host_has_paths_of_its_own() -> None:
    """Unless a file or the command line names others; Xen's defaults are the service's."""
    own = parse({"hypervisor": "simulated"}, "")
    assert own.socket.parent == own.database.parent == simulated_folder()
    assert own.device_model_socket_path is None
    named = parse({"hypervisor": "simulated", "database": "/b/l"}, "", given={"socket": Path("/s")})
    assert (named.socket, named.database) == (Path("/s"), Path("/b/l"))
    assert load(None, {"hypervisor": "simulated"}) == own
    for hypervisor in ("auto", "xen"):
        assert parse({"hypervisor": hypervisor}, "").database == DEFAULT_DATABASE


def test_the_defaults_are_in_folders_that_may_be_made() -> None:
    """The service's own folders, and only those, are made where they are missing."""
    aside = Config().device_model_socket_path
    assert aside is not None
    folders = {DEFAULT_SOCKET.parent, DEFAULT_DATABASE.parent, aside.parent, simulated_folder()}
    assert {folder for folder in folders if folder.name != "maxmemd-simulated"} <= set(OWN_FOLDERS)
