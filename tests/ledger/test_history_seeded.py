"""Histories of three domains, seeded: whatever is asked of one, it is what a plain search finds."""

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from maxmemd.ledger import history, walks
from maxmemd.ledger.reader import LedgerReader
from maxmemd.policy.codec import state_to_json
from maxmemd.policy.components import MAX_MEM, Component, Record
from maxmemd.policy.entries import Entry
from maxmemd.units import Memory
from tests.ledger.lines import AT_NS, OTHER, UUID, note, opened, page_of, push, seqs_of
from tests.support.fakes import MemoryLedger

THIRD = "51a70000-0000-4000-8000-000000000003"
DOMAINS = (UUID, OTHER, THIRD)
COMMITS = 300


class Written(NamedTuple):
    """Two ledgers with the same history, one of them at `path`."""

    path: Path
    memory: MemoryLedger


def made(uuid: str, revision: int, number: int) -> Entry:
    """Return an entry that makes a revision, whose limit is a number of its own."""
    record = Record(uuid, revision, {MAX_MEM: Component(Memory(kib=number), revision)})
    state = json.dumps(state_to_json(record), separators=(",", ":"))
    return Entry(uuid, revision, "mem-max", "{}", "{}", state)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=range(3))
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Return ledgers in which records were decided on, refused, forgotten and begun again."""
    chance = random.Random(request.param)
    path = tmp_path_factory.mktemp("seeded") / "l.sqlite"
    ledger, memory = opened(path), MemoryLedger()
    revisions, number = dict.fromkeys(DOMAINS, 0), 0
    for _ in range(COMMITS):
        entries, forgotten = [], []
        uuid = chance.choice(DOMAINS)
        if revisions[uuid] and chance.random() < 0.05:
            entries.append(note(revisions[uuid], uuid))
            forgotten.append(uuid)
            revisions[uuid] = 0
        else:
            for _ in range(chance.choice((1, 3, 40))):
                if chance.random() < 0.5 or not revisions[uuid]:
                    revisions[uuid] += 1
                    number += 1
                    entries.append(made(uuid, revisions[uuid], number))
                else:
                    entries.append(note(revisions[uuid], uuid))
        entries += [note(revisions[other], other) for other in DOMAINS if chance.random() < 0.2]
        pushed = [chance.choice(DOMAINS) for _ in range(chance.choice((0, 1, 30)))]
        pushes = [push(1)._replace(uuid=uuid) for uuid in pushed]
        for each in (ledger, memory):
            each.commit(AT_NS, entries, pushes=pushes, forgotten=forgotten)
    ledger.close()
    return Written(path, memory)


def test_every_revision_is_the_one_that_a_plain_search_finds(written: Written) -> None:
    """On both ledgers, in the newest life that came as far, and in the lives before it."""
    ledger, reader = opened(written.path), LedgerReader(written.path)
    for uuid in DOMAINS:
        most = max(one.revision for one in written.memory.lines if one.uuid == uuid)
        revisions = [*range(9), *range(9, most, 7), most - 1, most, most + 1, most + 2]
        makers = reader.made_by(uuid, revisions, 0)
        for revision in revisions:
            wanted = written.memory.record_at(uuid, revision)
            assert ledger.record_at(uuid, revision) == wanted, (uuid, revision)
            assert (revision in makers) == (wanted is not None)
    ledger.close()


def test_every_page_is_the_one_that_a_plain_search_finds(written: Written) -> None:
    """Below each entry, whoever's it is."""
    reader = LedgerReader(written.path)
    seqs = {
        uuid: [at for at, one in enumerate(written.memory.lines, 1) if one.uuid == uuid]
        for uuid in DOMAINS
    }
    for before in (*range(1, len(written.memory.lines) + 2, 31), 2**52):
        uuid = DOMAINS[before % 3]
        wanted = [seq for seq in seqs[uuid] if seq < before][:-6:-1]
        page = page_of(reader.history, uuid, limit=5, before=before)
        assert [int(seq) for seq in page.items] == wanted
        is_last = not wanted or wanted[-1] == seqs[uuid][0]
        assert page.next_before == (None if is_last else wanted[-1])


def test_every_page_of_pushes_is_the_one_that_a_plain_search_finds(written: Written) -> None:
    """Likewise below each push."""
    reader, rows = LedgerReader(written.path), written.memory.rows
    for before in (*range(1, len(rows) + 2, 31), 2**52):
        uuid = DOMAINS[before % 3]
        own = [number for number, one in enumerate(rows, 1) if one.uuid == uuid]
        wanted = [number for number in own if number < before][:-6:-1]
        page = page_of(reader.pushes, uuid, limit=5, before=before)
        assert [int(number) for number in page.items] == wanted
        is_last = not wanted or wanted[-1] == own[0]
        assert page.next_before == (None if is_last else wanted[-1])


def test_what_is_left_after_pruning_is_found(written: Written, tmp_path: Path) -> None:
    """Without old entries, beginnings of lives among them, the others are found as before."""
    path, ledger = tmp_path / "l.sqlite", opened(written.path)
    with (
        closing(sqlite3.connect(written.path)) as source,
        closing(sqlite3.connect(path)) as copy,
    ):
        source.backup(copy)
        cut = copy.execute("SELECT max(seq) FROM history").fetchone()[0] * 3 // 4
        copy.execute("DELETE FROM history WHERE seq <= ?", (cut,))
        copy.commit()
        query = "SELECT uuid, revision, max(seq) FROM history WHERE state NOT NULL GROUP BY 1, 2"
        left = copy.execute(query).fetchall()
    reader = LedgerReader(path)
    for uuid, revision, seq in left[::5]:
        found = reader.made_by(uuid, [revision], seq)
        assert found[revision].seq == seq, (uuid, revision)
    for uuid in DOMAINS:
        before, count = None, 0
        while page := page_of(reader.history, uuid, limit=50, before=before):
            count += len(page.items)
            before = page.next_before
            if before is None:
                break
        assert count == sum(one.uuid == uuid for one in written.memory.lines[cut:]), (
            "pages end where entries are no longer there"
        )
        assert seqs_of(reader.history, uuid, limit=5, before=cut // 2) == []
    ledger.close()


def test_walks_are_bounded(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would need a longer walk than there may be is not found, instead of walked to."""
    assert walks.MOST_STEPS >= 30 * 64, "from milestone to milestone, with room to spare"
    assert history.MOST_LIVES >= 1
    with closing(sqlite3.connect(written.path)) as connection:
        rows = connection.execute("SELECT count(*), sum(hash < x'04') FROM history").fetchone()
    assert 0.5 < 64 * rows[1] / rows[0] < 2, "one entry in 64 is a milestone"
