"""Many clients at once, over the real socket: every confirmed update is kept."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from maxmemd.ledger.reader import LedgerReader
from maxmemd.policy.components import Record
from maxmemd.policy.facts import StoreFacts
from maxmemd.units import Memory
from tests.support.figures import figure
from tests.support.outside import Outside
from tests.support.process import ROOT
from tests.support.soak import SOAK
from tests.system.abuse.replay import replay

CLIENTS = 8
WRITES = 20_000 if SOAK else 2_000
GUESTS = 50
SHARED = ("device-model", "shared")
Confirmed = list[tuple[str, int, int, int]]


@pytest.mark.soak
def test_no_update_is_lost(tmp_path: Path) -> None:
    """Every domain's pages are the sum of what was confirmed, and its history leads there."""
    with Outside(tmp_path, "tests.system.abuse.guests", ("--guests", str(GUESTS))) as daemon:
        stores = _stores(daemon)
        began_s = time.monotonic()
        confirmed, refused = _write(daemon)
        took_s = time.monotonic() - began_s
        held = _held(daemon)
        database = daemon.database
    assert LedgerReader(database).check() > WRITES

    found = replay(database, stores)
    _check_confirmed(confirmed, found.records)
    for uuid, record in found.records.items():
        assert held[uuid] == record.limit.max_pages, uuid
    assert found.kinds["refused"] == refused > 0
    assert "drift" not in found.kinds
    figure("no lost update", f"{CLIENTS} processes, {GUESTS} domains: writes confirmed",
           f"{len(confirmed)} and {refused} refused, 0 lost, {WRITES / took_s:.0f}/s")  # fmt: skip


def _stores(daemon: Outside) -> dict[str, StoreFacts]:
    """Return what xenstore says of every domain before anything was written."""
    return {
        one["uuid"]: StoreFacts(
            target=Memory(kib=one["target_kib"]), static_max=Memory(kib=one["static_max_kib"])
        )
        for one in daemon.ask("GET", "/v1/domains")[1]["domains"]
    }


def _write(daemon: Outside) -> tuple[Confirmed, int]:
    """Let all clients write; return what was confirmed to them, and how often they were refused."""
    clients = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.system.abuse.writer",
                str(daemon.socket),
                str(number),
                str(WRITES // CLIENTS),
                str(GUESTS),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        for number in range(1, CLIENTS + 1)
    ]
    told = [json.loads(client.communicate()[0] or "{}") for client in clients]
    assert [client.returncode for client in clients] == [0] * CLIENTS
    confirmed = [tuple(line) for one in told for line in one["confirmed"]]
    return confirmed, sum(one["refused"] for one in told)


def _held(daemon: Outside) -> dict[str, int]:
    """Return what Xen holds, asked past the daemon's API."""
    assert daemon.running.stdin is not None
    assert daemon.running.stdout is not None
    daemon.running.stdin.write(b"\n")
    daemon.running.stdin.flush()
    held: dict[str, int] = json.loads(daemon.running.stdout.readline())
    return held


def _check_confirmed(confirmed: Confirmed, records: dict[str, Record]) -> None:
    """Demand that each confirmation is one revision, and that no increase is missing."""
    assert len({(uuid, revision) for uuid, revision, _, _ in confirmed}) == len(confirmed)
    revisions = Counter(uuid for uuid, _, _, _ in confirmed)
    added: Counter[str] = Counter()
    for uuid, _, _, by_kib in confirmed:
        added[uuid] += by_kib
    assert len(records) == GUESTS + 1
    for uuid, record in records.items():
        assert record.revision == 1 + revisions[uuid]
        shared = record.amount(SHARED)
        assert (0 if shared is None else shared.kib) == added[uuid]
    last = dict.fromkeys(records, 0)
    limits: dict[str, int] = {}
    for uuid, revision, limit_kib, _ in confirmed:
        if revision > last[uuid]:
            last[uuid], limits[uuid] = revision, limit_kib
    assert {uuid: records[uuid].limit.kib for uuid in limits} == limits
