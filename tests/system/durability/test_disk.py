"""A disk that is full, sick or locked: said by code, nothing confirmed lost, healed by itself."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from maxmemd.arbiter.messages import Granted, LookAtDomain
from maxmemd.errors import LedgerBusy, LedgerError, LedgerFull
from maxmemd.policy.wishes import SetComponent
from maxmemd.units import Memory
from tests.support.audit import audit
from tests.support.cramped import can_mount
from tests.support.figures import figure
from tests.support.http import Client
from tests.support.ledgers import new_ledger
from tests.support.process import ROOT
from tests.support.soak import SOAK
from tests.support.stand import Stand
from tests.support.until import until
from tests.system.durability.workload import Bench

FIU = ("/usr/lib/fiu/fiu_run_preload.so", "/usr/lib/fiu/fiu_posix_preload.so")
DM = ("device-model", "rom")
SEEDS = 10 if SOAK else 1
SMALL_MIB = 24  # with less free than 16 MiB health calls a disk nearly full, sooner or later


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Return an arbiter in this process on a new ledger."""
    made = Bench(new_ledger(tmp_path / "ledger.sqlite"), busy_ms=20)
    made.arbiter.start()
    yield made
    made.close()


def rom(kib: int) -> SetComponent:
    """Return a wish for a component that needs nothing but the ledger."""
    return SetComponent(DM, Memory(kib=kib))


def look(bench: Bench) -> Any:
    """Look at the first guest."""
    (view,) = bench.arbiter.turn([LookAtDomain(bench.uuids[0])])
    return view


@pytest.mark.soak
@pytest.mark.needs("fiu-utils")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_io_errors_lose_nothing(tmp_path: Path, seed: int) -> None:
    """At 2% of writes and syncs some wishes fail, at 100% all; what was confirmed is kept."""
    database, turns = tmp_path / "ledger.sqlite", 400 if SOAK else 60
    command = [sys.executable, "-m", "tests.system.durability.workload", str(database), str(seed)]
    done = subprocess.run(
        [*command, str(turns), "--sick"],
        cwd=ROOT,
        env=os.environ | {"LD_PRELOAD": " ".join(FIU)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    kept = audit(database)
    for key, uuid, revision, limit_kib in found["confirmed"]:
        line = kept.keys[key]
        assert (line.uuid, line.revision, line.limit_kib) == (uuid, revision, limit_kib)
    codes = found["codes"]
    figure("I/O errors", f"confirmed, lost (seed {seed})", f"{len(found['confirmed'])}, 0")
    figure("I/O errors", f"turns by what came of them (seed {seed})", codes)
    assert found["looks"] == sum(codes.values()), "a read failed"
    assert codes["ok"] > 0
    assert codes["ledger-failed"] > 0
    for call in ("rw/pwrite", "sync/fdatasync"):
        assert found[f"posix/io/{call} 1"] == 0, "confirmed without a disk"
    assert found["recovered"] > 0
    assert found["agrees"]


@pytest.mark.skipif(not can_mount(), reason="no right to mount a tmpfs in a private namespace")
def test_a_full_disk_is_said_and_healed() -> None:
    """507 ledger-full; reads and reconciliation go on; with space again it goes on by itself."""
    with Stand(2, options=["--poll", "0.1"]) as stand:
        (stand.directory / "small").mkdir()
        stand.database = stand.directory / "small" / "ledger.sqlite"
        mount = f"mount -t tmpfs -o size={SMALL_MIB}m none {stand.database.parent}"
        stand.before = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh"]
        stand.start()
        inside = Path(f"/proc/{stand.running.pid}/root{stand.database.parent}")
        _full_and_back(stand, inside)


def _full_and_back(stand: Stand, inside: Path) -> None:
    path = f"/v1/domains/{stand.uuids[0]}"
    part = f"{path}/components/device-model/rom"
    with stand.client() as client:
        assert client.ask("PUT", part, {"amount_kib": 4096}, key="before").status == 200
        ballast = inside / "ballast"
        filling = Filling(client, ballast, part)
        until("the disk is full", filling.is_full, within_s=120, every_s=0)
        shown = client.ask("GET", path)
        assert shown.status == 200
        limit_pages = shown["max_pages"]
        stand.host.call("foreign_write", shown["domid"], Memory.of_mib(1))
        restored = until("drift is undone", stand_has(stand, shown["domid"], limit_pages))
        assert client.ask("GET", "/v1/domains").status == 200

        ballast.unlink()
        body = {"amount_kib": 4}
        healed = until("it is written", lambda: client.ask("PUT", part, body).status == 200)
        until("health is back", stand.is_ready)
    with stand.client() as client:  # the other's connection may have been idle for too long
        again = client.ask("PUT", part, {"amount_kib": 8192}, key=filling.key)
        assert (again.status, again["replayed"]) == (200, False)
        history = client.ask("GET", f"{path}/history")
        assert "drift" in [line["kind"] for line in history["entries"]], "what waited is kept"
    kept = audit(_copied(inside, stand.directory))
    assert kept.keys["before"].uuid == stand.uuids[0]
    assert kept.keys[filling.key].revision == again["revision"]
    figure("disk full", "drift undone meanwhile, after", f"{restored:.2f} s")
    figure("disk full", "written again without a restart, after", f"{healed:.2f} s")


def stand_has(stand: Stand, domid: int, pages: int) -> Any:
    """Return a question: does Xen hold that many pages for a domain."""
    return lambda: stand.host.call("xen.domain", domid).max_pages == pages


def _copied(inside: Path, outside: Path) -> Path:
    """Copy the ledger out of the daemon's mounts, where SQLite cannot follow it."""
    for name in ("ledger.sqlite", "ledger.sqlite-wal"):
        shutil.copy(inside / name, outside / name)
    return outside / "ledger.sqlite"


class Filling:
    """Fills what is left of the disk, until a change is refused and health says why.

    The daemon empties its WAL when it meets the end, and at every poll it begins again: what that
    makes free is filled in turn, and which error SQLite has for it depends on who came first.
    """

    def __init__(self, client: Client, ballast: Path, part: str) -> None:
        self._client, self._ballast, self._part = client, ballast, part
        self._tries = 0

    @property
    def key(self) -> str:
        """Return the key of the newest change; no key is used for two."""
        return f"refused-{self._tries}"

    def is_full(self) -> bool:
        """Fill, ask for a change, and return whether it was refused and health agrees."""
        self._tries += 1
        _fill(self._ballast)
        refused = self._client.ask("PUT", self._part, {"amount_kib": 8192}, key=self.key)
        if refused.status == 200:
            return False
        assert (refused.status, refused["code"]) == (507, "ledger-full")
        health = self._client.ask("GET", "/v1/health")
        return str(health["parts"]["ledger"]).startswith("ledger-full")


def _fill(ballast: Path) -> None:
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_ledger_that_may_not_grow_is_full(bench: Bench) -> None:
    """SQLITE_FULL is LedgerFull; a refused decision leaves no trace; then it goes on."""
    assert isinstance(bench.turn((bench.uuids[0], rom(4)))[0], Granted)
    pages = [1]

    @sa.event.listens_for(bench.ledger._database._engine, "connect")
    def _cap(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages[0]}")

    bench.ledger.reopen()
    answers: list[Any] = []
    while not answers or isinstance(answers[-1], Granted):
        answers += bench.turn((bench.uuids[0], rom(4 * len(answers))))
        assert len(answers) < 1000
    assert isinstance(answers[-1], LedgerFull)
    assert bench.agrees(), "pushed before it was recorded"
    before = bench.arbiter.records.get(bench.uuids[0])
    assert look(bench).record == before
    bench.host.foreign_write(1, Memory.of_mib(1))
    with pytest.raises(LedgerFull):
        bench.arbiter.poll()
    assert bench.agrees()

    pages[0] = 1_000_000
    bench.arbiter.poll()
    assert bench.arbiter.records.trouble is None
    assert isinstance(bench.turn((bench.uuids[0], rom(4)))[0], Granted)
    assert bench.agrees()
    kept = audit(bench.ledger._path)
    granted = [answer for answer in answers if isinstance(answer, Granted)]
    assert len(kept.keys) == len(granted) + 2


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the write lock, as another process may."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_a_locked_database_is_busy(bench: Bench) -> None:
    """Another holder of the lock makes it LedgerBusy, until it lets go."""
    with locked(bench.ledger._path):
        (refused,) = bench.turn((bench.uuids[0], rom(4)))
        assert isinstance(refused, LedgerBusy)
        assert bench.agrees(), "pushed before it was recorded"
        assert look(bench).record.revision == 1
        bench.host.foreign_write(1, Memory.of_mib(1))
        with pytest.raises(LedgerBusy):
            bench.arbiter.poll()
        assert bench.agrees()
    bench.arbiter.poll()
    assert bench.arbiter.records.trouble is None
    assert isinstance(bench.turn((bench.uuids[0], rom(4)))[0], Granted)
    assert len(audit(bench.ledger._path).keys) == 1


def test_a_locked_database_is_503_over_the_socket() -> None:
    """503 ledger-busy while another process holds the lock; reads go on; then 200."""
    with Stand(1, options=["--poll", "0.2"]) as stand:
        stand.start()
        path = f"/v1/domains/{stand.uuids[0]}"
        part = f"{path}/components/device-model/rom"
        with stand.client() as client:
            with locked(stand.database):
                refused = client.ask("PUT", part, {"amount_kib": 4}, key="k")
                assert (refused.status, refused["code"]) == (503, "ledger-busy")
                assert client.ask("GET", path).status == 200
            until("health is back", stand.is_ready)
            assert client.ask("PUT", part, {"amount_kib": 4}, key="k").status == 200
        assert stand.kept().keys["k"].revision == 2


def test_a_commit_that_failed_and_was_kept_is_taken_up(bench: Bench) -> None:
    """Whether it was kept the file says; the next decision is made on what it says."""
    commit = bench.ledger.commit

    def kept_all_the_same(*args: Any, **options: Any) -> None:
        commit(*args, **options)
        bench.ledger.commit = commit  # type: ignore[method-assign]
        raise LedgerError("cannot write the ledger: the sync failed")

    bench.ledger.commit = kept_all_the_same  # type: ignore[method-assign]
    (unsure,) = bench.turn((bench.uuids[0], rom(4096)))
    assert isinstance(unsure, LedgerError)
    assert bench.arbiter.records.trouble is unsure
    (granted,) = bench.turn((bench.uuids[0], rom(8192)))
    assert granted.record.revision == 3
    bench.arbiter.poll()
    assert bench.agrees()
    kept = audit(bench.ledger._path)
    assert [line.revision for line in kept.keys.values()] == [2, 3]
