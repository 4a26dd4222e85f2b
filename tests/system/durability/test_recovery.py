"""docs/recovery.md: it names every code, and its ways back do what it says."""

import shutil
from pathlib import Path

import pytest

from maxmemd import errors
from maxmemd.errors import HypervisorError, LedgerCorrupt, LedgerError, MaxmemError
from maxmemd.ledger.backup import backup
from maxmemd.ledger.migrate import migrate
from maxmemd.ledger.reader import LedgerReader
from maxmemd.policy.wishes import SetComponent
from maxmemd.units import Memory
from tests.support.process import ROOT
from tests.system.durability.workload import Bench

DOCUMENT = ROOT / "docs" / "recovery.md"
DM = ("device-model", "rom")
OUR_WORLD = (LedgerError, HypervisorError, errors.XenstoreError, errors.ArbiterBusy)


def codes() -> set[str]:
    """Return the code of everything that an administrator may have to look after."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return {k.code for k in kinds if issubclass(k, MaxmemError) and issubclass(k, OUR_WORLD)}


@pytest.mark.parametrize("code", sorted(codes()))
def test_every_code_is_in_the_document(code: str) -> None:
    """An administrator who searches for a code finds what to do."""
    assert f"`{code}`" in DOCUMENT.read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return an arbiter that has decided, backed up, decided again, and stopped."""
    database = tmp_path / "ledger.sqlite"
    migrate(database)
    made = Bench(database)
    made.arbiter.start()
    made.turn((made.uuids[0], SetComponent(DM, Memory(kib=4096))))
    made.arbiter.poll()
    backup(database, tmp_path / "backup")
    made.turn((made.uuids[0], SetComponent(DM, Memory(kib=8192))))
    made.close()
    return made


def test_a_backup_is_whole_and_older(bench: Bench, tmp_path: Path) -> None:
    """A backup is a ledger; beside the old tail it is refused."""
    assert LedgerReader(tmp_path / "backup").check() > 0
    shutil.copy(tmp_path / "backup", tmp_path / "ledger.sqlite")
    with pytest.raises(LedgerCorrupt, match=r"docs/recovery\.md"):
        Bench(tmp_path / "ledger.sqlite", bench.host)


def test_a_backup_and_adopt_keep_what_xen_holds(bench: Bench, tmp_path: Path) -> None:
    """With drift = adopt no maximum changes, and the components of the backup are there."""
    shutil.copy(tmp_path / "backup", tmp_path / "ledger.sqlite")
    (tmp_path / "ledger.sqlite-high-water").unlink()
    before = [fact.max_pages for fact in bench.xen.domains()]
    again = Bench(tmp_path / "ledger.sqlite", bench.host, drift="adopt")
    again.arbiter.start()
    assert [fact.max_pages for fact in bench.xen.domains()] == before
    assert again.agrees()
    record = again.arbiter.records.get(again.uuids[0])
    assert record is not None
    assert record.amount(DM) == Memory(kib=4096)
    again.close()


def test_a_new_ledger_changes_no_maximum(bench: Bench, tmp_path: Path) -> None:
    """Every domain is adopted with the maximum it has."""
    before = [fact.max_pages for fact in bench.xen.domains()]
    migrate(tmp_path / "new.sqlite")
    again = Bench(tmp_path / "new.sqlite", bench.host)
    again.arbiter.start()
    assert [fact.max_pages for fact in bench.xen.domains()] == before
    assert again.agrees()
    again.close()
