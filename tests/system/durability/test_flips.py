"""A bit of the database or of its WAL is flipped: that is seen, or it changes nothing."""

import asyncio
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from maxmemd.arbiter.actor import Arbiter
from maxmemd.arbiter.mailbox import Mailbox
from maxmemd.errors import LedgerCorrupt, LedgerError
from maxmemd.ledger.migrate import migrate
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.policy.components import Record
from maxmemd.policy.entries import Entry
from maxmemd.policy.facts import StoreFacts
from maxmemd.policy.wishes import SetMaxMem
from maxmemd.units import Memory
from maxmemd.xen.simulated import SimulatedHost
from tests.support.figures import figure
from tests.support.http import Client
from tests.support.soak import SOAK
from tests.support.stand import Stand
from tests.support.until import until
from tests.system.durability.workload import Bench, step

FLIPS = 1000 if SOAK else 60
TURNS = 40
NAME = "ledger.sqlite"


@dataclass
class Truth:
    """Files as a kill left them (all in the WAL) and as a stop did, and what they mean."""

    place: Path
    host: SimulatedHost
    records: dict[str, Record] = field(default_factory=dict)
    history: list[Any] = field(default_factory=list)
    world: list[tuple[int, StoreFacts]] = field(default_factory=list)

    def look(self) -> list[tuple[int, StoreFacts]]:
        """Return what Xen and xenstore hold of every domain."""
        store = self.host.xenstore()
        facts = self.host.hypervisor().domains()
        return [(fact.max_pages, store.facts(fact.domid)) for fact in facts]

    def restore(self) -> None:
        """Bring Xen and xenstore back to what they held."""
        for fact, (pages, store) in zip(self.host.machine.domains(), self.world, strict=True):
            self.host.machine.set_max(fact.domid, pages)
            target, static_max = store.target, store.static_max
            self.host.write_nodes(fact.domid, fact.uuid, target=target, static_max=static_max)


def lines(database: Path) -> list[Any]:
    """Return the history, whole."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT * FROM history ORDER BY seq").fetchall()


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """Decide for a while, and keep the files as they are then."""
    place = tmp_path_factory.mktemp("flips")
    for kind in ("killed", "stopped", "live", "flipped"):
        (place / kind).mkdir()
    database = place / "live" / NAME
    migrate(database)
    bench, dice = Bench(database), random.Random(11)
    bench.arbiter.start()
    for _ in range(TURNS):
        step(bench, dice)
    bench.clock.tick(100)
    bench.arbiter.poll()
    found = Truth(place, bench.host)
    for uuid in bench.arbiter.records.uuids():
        record = bench.arbiter.records.get(uuid)
        assert record is not None
        found.records[uuid] = record
    found.history, found.world = lines(database), found.look()
    for file in database.parent.iterdir():
        if not file.name.endswith("-shm"):
            shutil.copy(file, place / "killed" / file.name)
    bench.close()
    for file in database.parent.iterdir():
        shutil.copy(file, place / "stopped" / file.name)
    return found


def flip(truth: Truth, kind: str, name: str, bit: int) -> Path:
    """Copy the files with one bit of one of them flipped; return the database's path."""
    place = truth.place / "flipped"
    for old in place.iterdir():
        old.unlink()
    for file in (truth.place / kind).iterdir():
        shutil.copy(file, place / file.name)
    content = bytearray((place / name).read_bytes())
    content[bit // 8] ^= 1 << (bit % 8)
    (place / name).write_bytes(content)
    return place / NAME


def outcome(truth: Truth, database: Path) -> str:
    """Start on these files; return how it was seen, that it was harmless, or what is wrong."""
    try:
        migrate(database)
        bench = Bench(database, truth.host)
    except LedgerError:
        return "refused at the start"
    try:
        bench.arbiter.start()
        bench.arbiter.poll()
        for uuid, record in truth.records.items():
            if bench.arbiter.records.get(uuid) != record:
                return f"WRONG: {bench.arbiter.records.get(uuid)} for {record}"
        if truth.look() != truth.world:
            return f"WRONG in Xen: {truth.look()}"
        LedgerReader(database).check()
    except LedgerError:
        return "seen by the check that follows"
    finally:
        bench.close()
    same = lines(database)[: len(truth.history)] == truth.history
    return "harmless" if same else "WRONG: the history"


def places(truth: Truth, dice: random.Random) -> Iterator[tuple[str, str, int]]:
    """Yield random bits of the files."""
    files = [
        ("killed", NAME),
        ("killed", f"{NAME}-wal"),
        ("stopped", NAME),
        ("killed", f"{NAME}-high-water"),
    ]
    for _ in range(FLIPS):
        kind, name = dice.choices(files, (10, 10, 10, 1))[0]
        yield kind, name, dice.randrange(8 * (truth.place / kind / name).stat().st_size)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_flipped_bit_is_seen_or_harmless(truth: Truth) -> None:
    """Never a wrong limit in the records or in Xen, nor a wrong line of history unseen."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    found: Counter[str] = Counter()
    wrong = []
    for kind, name, bit in places(truth, random.Random(seed)):
        came = outcome(truth, flip(truth, kind, name, bit))
        found[came.partition(":")[0]] += 1
        if came.startswith("WRONG"):
            wrong.append(f"bit {bit} of {kind}/{name}: {came}")
            truth.restore()
    for came, times in sorted(found.items()):
        figure("flipped bits", came, f"{times} of {FLIPS}")
    assert not wrong


def test_the_daemon_refuses_a_wal_that_was_damaged() -> None:
    """It ends with a sentence that says where to read on; Xen keeps what it holds."""
    with Stand(2) as stand:
        stand.start()
        path = f"/v1/domains/{stand.uuids[0]}/limit"
        with stand.client() as client:
            for mib in range(300, 340):
                told = client.ask("PUT", path, {"max_mem_kib": mib * 1024})
                assert told.status == 200
        stand.kill()
        wal = stand.database.with_name(f"{NAME}-wal")
        content = bytearray(wal.read_bytes())
        content[len(content) * 3 // 4] ^= 1
        wal.write_bytes(content)
        before = stand.facts()

        stand.spawn()
        assert stand.ended(60) == 1
        said = stand.log.read_text()
        assert "maxmemd: cannot trust the ledger: entry" in said
        assert "docs/recovery.md" in said
        assert [fact.max_pages for fact in stand.facts()] == [fact.max_pages for fact in before]


def test_an_old_line_that_was_damaged_is_said_by_health() -> None:
    """The limits stand on other lines and are served; readiness says that history is damaged."""
    with Stand(1) as stand:
        stand.start()
        limits = stand.kept().limits
        assert stand.stop() == 0
        with closing(SqliteLedger(stand.database)) as ledger:
            ledger.load()
            note = Entry(stand.uuids[0], 1, "refused", "{}", "{}", None)
            ledger.commit(1, [note] * 1100)
        with closing(sqlite3.connect(stand.database)) as connection:
            connection.execute("UPDATE history SET at_ns = at_ns + 1 WHERE seq = 1")
            connection.commit()

        stand.spawn()
        with until_serving(stand) as client:
            until("the check has run", lambda: integrity(client) != "being checked")
            assert integrity(client).startswith("ledger-corrupt: cannot trust the ledger: entry 1 ")
            assert client.ask("GET", "/v1/health").status == 503
            shown = client.ask("GET", f"/v1/domains/{stand.uuids[0]}")
            assert shown["max_pages"] == limits[stand.uuids[0]]
        assert stand.agrees()


def test_a_start_that_fails_in_any_way_ends() -> None:
    """An unexpected error is raised by the mailbox's start; a daemon never hangs on it."""

    def broken() -> Arbiter:
        raise ValueError("not foreseen")

    async def begun() -> None:
        async with asyncio.timeout(10):
            await Mailbox(broken, poll_s=1.0).start()

    with pytest.raises(ValueError, match="not foreseen"):
        asyncio.run(begun())


def until_serving(stand: Stand) -> Client:
    """Return a connection to a daemon that answers, ready or not."""
    until("it listens", stand.socket.exists)
    found: list[Client] = []

    def connected() -> bool:
        with suppress(OSError):
            found.append(stand.client())
        return bool(found)

    until("it answers", connected)
    return found[0]


def integrity(client: Client) -> str:
    """Return what health says of the ledger's chain."""
    said: str = client.ask("GET", "/v1/health")["parts"]["integrity"]
    return said


def test_what_is_still_to_be_written_is_sealed(tmp_path: Path) -> None:
    """A digit of an open target or static-max that changed is damage, and nothing is written."""
    migrate(tmp_path / NAME)
    bench = Bench(tmp_path / NAME)
    bench.arbiter.start()
    bench.host.fail("write", 5)
    bench.turn((bench.uuids[0], SetMaxMem(Memory.of_mib(300))))
    bench.close()
    with closing(sqlite3.connect(tmp_path / NAME)) as connection:
        found = "SELECT effects FROM instance WHERE effects IS NOT NULL"
        assert "307200" in connection.execute(found).fetchone()[0]
        connection.execute("UPDATE instance SET effects = replace(effects, '307200', '307201')")
        connection.commit()
    bench.host.heal()
    with pytest.raises(LedgerCorrupt, match=r"the instance of .* docs/recovery\.md"):
        Bench(tmp_path / NAME, bench.host)
