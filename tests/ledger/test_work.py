"""What the ledger is asked costs as much in a long history as in a short one."""

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from maxmemd.ledger.follow import START, LedgerFollower
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.schema import METADATA
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.pacing import Deadline
from maxmemd.policy.drift import DriftMode, Instant, SetMode
from tests.ledger.lines import AT_NS, OTHER, UUID, entry, instance, note, opened, page_of, push
from tests.ledger.work import (
    Steps,
    plan_of,
    scans,
    statements_of,
    steps_of_read,
    steps_of_write,
)

SHORT, LONG = 200, 20_000
"""Entries of two ledgers."""
FEW_TIMES = 4
"""How much more the long one may cost: the way from a milestone differs."""
RESTING = "51a70000-0000-4000-8000-000000000004"
NEVER_PUSHED = "51a70000-0000-4000-8000-000000000003"


@pytest.fixture(scope="module")
def ledger_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Return ledgers of so many entries: half are decisions on one domain, others between."""

    @cache
    def make(length: int) -> Path:
        path = tmp_path_factory.mktemp("work") / f"{length}.sqlite"
        ledger = opened(path)
        lives = [entry(1, OTHER), entry(1, NEVER_PUSHED)]
        ledger.commit(AT_NS, lives, instances=[instance(1)])
        for first in range(1, length // 2, 100):
            some = range(first, first + 100)
            entries = [one for n in some for one in (entry(n, key=f"0:{n}"), note(n))]
            ledger.commit(AT_NS, entries, pushes=[push(n) for n in some])
        ledger.close()
        return path

    return make


READS: dict[str, Callable[[LedgerReader, Deadline], object]] = {
    "newest": lambda reader, until: reader.history(UUID, _nothing, limit=1, until=until),
    "page": lambda reader, until: reader.history(UUID, _nothing, limit=50, until=until),
    "before-the-first": lambda r, until: r.history(UUID, _nothing, limit=1, before=2, until=until),
    "before-an-old-one": lambda r, until: r.history(
        UUID, _nothing, limit=9, before=90, until=until
    ),
    "pushes": lambda reader, until: reader.pushes(UUID, _nothing, limit=50, until=until),
    "first-push": lambda reader, until: reader.pushes(
        UUID, _nothing, limit=9, before=9, until=until
    ),
    "no-pushes": lambda reader, until: reader.pushes(NEVER_PUSHED, _nothing, limit=9, until=until),
    "explain": lambda reader, until: reader.made_by(UUID, [1, 17, 50, 99], 0, until),
    "explain-nothing": lambda reader, until: reader.made_by(UUID, [10**12], 0, until),
}


def _nothing(_: object) -> bytes:
    return b""


@pytest.mark.parametrize("name", READS)
def test_a_read_costs_the_same_in_a_long_history(
    ledger_of: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """However far back it asks, a read takes as many steps of SQLite as in a short history."""

    def count(path: Path) -> int:
        reader = LedgerReader(path)
        return steps_of_read(monkeypatch, lambda until: READS[name](reader, until))

    short, long = count(ledger_of(SHORT)), count(ledger_of(LONG))
    assert 0 < long <= FEW_TIMES * short, (short, long)


WRITES: dict[str, Callable[[SqliteLedger], object]] = {
    "rollback-to-the-first": lambda ledger: ledger.record_at(UUID, 1),
    "rollback-to-an-old-one": lambda ledger: ledger.record_at(UUID, 77),
    "rollback-to-nothing": lambda ledger: ledger.record_at(UUID, 10**12),
    "keys": lambda ledger: ledger.by_keys(["0:1", "0:77", "0:none"]),
    "newest": lambda ledger: ledger.by_age([UUID, OTHER]),
    "commit": lambda ledger: ledger.commit(AT_NS, [note(1, OTHER)] * 9, pushes=[push(1)]),
}


@pytest.mark.parametrize("name", WRITES)
def test_the_arbiter_waits_no_longer_for_a_long_history(
    ledger_of: Callable[[int], Path], name: str
) -> None:
    """What is asked in the arbiter's thread takes as many steps as in a short history."""

    def count(path: Path) -> int:
        ledger = opened(path)
        steps = steps_of_write(ledger._connection, lambda: WRITES[name](ledger))
        ledger.close()
        return steps

    short, long = count(ledger_of(SHORT)), count(ledger_of(LONG))
    assert long <= FEW_TIMES * short + 20, (short, long)


def test_a_start_reads_no_more_of_a_long_history(ledger_of: Callable[[int], Path]) -> None:
    """However many refusals came after the last decision, its record is not looked for in them."""
    counts = []
    for length in (SHORT, LONG):
        ledger = opened(ledger_of(length))
        ledger.commit(AT_NS, [entry(1, RESTING)])
        for _ in range(length // 1000 + 2):
            ledger.commit(AT_NS, [note(1, RESTING)] * 1000)
        counts.append(steps_of_write(ledger._connection, ledger.load))
        ledger.close()
    assert counts[1] <= 1.2 * counts[0], counts


def test_every_revision_of_a_long_history_is_found(ledger_of: Callable[[int], Path]) -> None:
    """Wherever the milestones are, each revision and each page is exactly what was written."""
    ledger, reader = opened(ledger_of(LONG)), LedgerReader(ledger_of(LONG))
    with closing(sqlite3.connect(ledger_of(LONG))) as connection:
        rows = connection.execute(
            "SELECT seq, revision FROM history WHERE uuid = ? AND state IS NOT NULL", (UUID,)
        ).fetchall()
        seqs = [
            row[0]
            for row in connection.execute(
                "SELECT seq FROM history WHERE uuid = ? ORDER BY seq", (UUID,)
            )
        ]
    for seq, revision in rows[::97] + rows[-2:]:
        found = ledger.record_at(UUID, revision)
        assert found is not None
        assert (found.uuid, found.revision) == (UUID, revision)
        assert reader.made_by(UUID, [revision], seq)[revision].seq == seq
    for before in (1, 2, 3, 4, 64, 1003, 10_001, 19_999, 10**6, 2**52):
        wanted = [seq for seq in seqs if seq < before][:-4:-1]
        page = page_of(reader.history, UUID, limit=3, before=before)
        assert [int(seq) for seq in page.items] == wanted
    ledger.close()


def _everything(ledger: SqliteLedger, reader: LedgerReader, follower: LedgerFollower) -> None:
    """Have every statement of the ledger executed."""
    mode = SetMode(DriftMode.ADOPT, None, Instant("boot-1", 1.0, AT_NS), AT_NS, "{}", "")
    ledger.load()
    ledger.commit(
        AT_NS,
        [entry(10**6), note(1, NEVER_PUSHED)],
        instances=[instance(1)],
        pushes=[push(1)],
        names={UUID: "a"},
        drift_modes={UUID: mode, OTHER: None},
    )
    ledger.commit(AT_NS, [], forgotten=[NEVER_PUSHED])
    ledger.commit(AT_NS, [entry(1, NEVER_PUSHED)])
    ledger.record_at(UUID, 3)
    ledger.record_at(NEVER_PUSHED, 7)
    ledger.by_keys(["0:1", "0:2"])
    ledger.by_age([UUID])
    for read in READS.values():
        read(reader, Steps())
    reader.anchor()
    follower.after(follower.end(), 5)
    follower.after(START, 5)
    follower.place(3, 3)


def test_no_statement_goes_through_a_whole_table(ledger_of: Callable[[int], Path]) -> None:
    """Every statement finds entries and pushes by an index; a walk has a bound."""
    path = ledger_of(SHORT)
    ledger, reader, follower = opened(path), LedgerReader(path), LedgerFollower(path)
    with statements_of(ledger._connection.engine, reader._engine, follower._engine) as statements:
        _everything(ledger, reader, follower)
    ledger.close()
    texts = dict(statements)
    assert len(texts) > 30
    for text, parameters in texts.items():
        if text.startswith(("BEGIN", "PRAGMA", "COMMIT", "ROLLBACK")):
            continue
        found = scans(plan_of(path, text, parameters), text)
        assert not found, f"{found} in {text}"
        if "RECURSIVE" in text:
            assert "depth < ?" in text or "step < ?" in text or "revision < ?" in text, text


def test_these_tests_see_a_missing_index(
    ledger_of: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its index a page goes through all there is: the plan and the steps say so."""
    path = tmp_path / "l.sqlite"
    with (
        closing(sqlite3.connect(ledger_of(LONG))) as source,
        closing(sqlite3.connect(path)) as copy,
    ):
        source.backup(copy)
        copy.execute("DROP INDEX push_milestones")
        copy.execute("DROP INDEX history_milestones")
        copy.execute("DROP INDEX history_milestone_revisions")
        copy.commit()
    reader = LedgerReader(path)
    with statements_of(reader._engine) as statements:
        reader.history(UUID, _nothing, limit=1, before=2)
        reader.made_by(UUID, [7], 0)

        def read(until: Deadline) -> object:
            return reader.pushes(NEVER_PUSHED, _nothing, limit=9, before=5, until=until)

        assert steps_of_read(monkeypatch, read) > LONG / 4
    found = {step for text, given in statements for step in scans(plan_of(path, text, given), text)}
    assert {step.split()[1] for step in found} == {"push", "history"}


def test_a_commit_writes_no_page_of_an_index_for_each_domain(tmp_path: Path) -> None:
    """With the indices a commit of decisions on many domains writes hardly more than without."""
    path = tmp_path / "l.sqlite"
    chance = random.Random(1)
    uuids = [f"51a70000-0000-4000-8000-{chance.getrandbits(48):012x}" for _ in range(200)]
    ledger, revisions = opened(path), dict.fromkeys(uuids, 0)

    def decide(count: int) -> None:
        entries, pushes = [], []
        for uuid in chance.sample(uuids, count):
            revisions[uuid] += 1
            entries.append(entry(revisions[uuid], uuid))
            pushes.append(push(revisions[uuid])._replace(uuid=uuid))
        ledger.commit(AT_NS, entries, pushes=pushes)

    def bytes_written() -> int:
        driver: Any = ledger._connection.connection.driver_connection
        driver.execute("PRAGMA wal_autocheckpoint=0")
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for _ in range(20):
            decide(50)
        return Path(f"{path}-wal").stat().st_size

    for _ in range(50):
        decide(len(uuids))
    with_indices = bytes_written()
    driver: Any = ledger._connection.connection.driver_connection
    for table in METADATA.sorted_tables:
        for index in table.indexes:
            driver.execute(f"DROP INDEX {index.name}")
    without = bytes_written()
    driver.execute("CREATE INDEX whole ON push (uuid)")
    with_a_whole_one = bytes_written()
    ledger.close()
    assert with_indices < 1.5 * without
    assert with_a_whole_one > 2 * without, "this would be seen"
