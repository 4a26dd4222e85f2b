"""What allowed requests that are dear cost others, over the real socket, as several users."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import allowed
from benchmarks.filled import BATCH, fill
from tests.support.figures import figure
from tests.support.memory_cgroup import can_bound_memory, memory_cgroup, memory_of_unit
from tests.support.soak import SOAK

SIZES = (20, 300, 1000, 10_000) if SOAK else (300,)
HISTORIES = (1_000, 1_000_000) if SOAK else (0,)
"""Entries of the history before it starts."""
SECONDS = 10.0 if SOAK else 0.5
MOST_RESIDENT_MB = memory_of_unit() / 2**20
MOST_STOP_S = 2.0


def most_of(domains: int) -> float:
    """Return how many times as long others may wait, on a host of so many domains."""
    return 2.0 if domains <= 1000 else 4.0


@pytest.fixture
def directory() -> Iterator[Path]:
    """Give a directory on a disk that other users may enter."""
    made = Path(tempfile.mkdtemp(prefix="maxmemd-allowed-", dir="/var/tmp"))
    (made / "d").mkdir()
    yield made / "d"
    shutil.rmtree(made)


@pytest.fixture
def prefix() -> Iterator[list[str]]:
    """Give what confines the daemon to its unit's memory, if that can be done. It must suffice."""
    if not can_bound_memory():
        yield []
        return
    with memory_cgroup(memory_of_unit()) as cgroup:
        yield cgroup.prefix
        assert cgroup.kills == 0


@pytest.mark.soak
@pytest.mark.skipif(os.geteuid() != 0, reason="asks as several users, which only root can be")
@pytest.mark.parametrize("entries", HISTORIES)
@pytest.mark.parametrize("domains", SIZES)
def test_others_beside_dear_reads(
    directory: Path, prefix: list[str], domains: int, entries: int
) -> None:
    """Each dear route by three observers, a device model and a toolstack; memory is bounded."""
    if entries:
        fill(directory / "ledger.sqlite", domains=domains, revisions=max(entries, BATCH))
    with allowed.daemon(directory, domains, prefix) as server:
        found = allowed.measure(server, list(allowed.DEAR), SECONDS)
        stopped_s = server.stop()
    where = f"{domains} domains, {entries} entries"
    for harm in found:
        assert harm.answered > 0, harm.what
        ratios = ", ".join(f"{who} {ratio:.2f}" for who, ratio in harm.ratios.items())
        figure("allowed load", f"{where}, {harm.what}", f"{ratios} times; {harm.note}")
        assert harm.resident_mb < MOST_RESIDENT_MB, harm.what
    worst = max(ratio for harm in found for ratio in harm.ratios.values())
    assert worst <= most_of(domains) or not SOAK
    figure("allowed load", f"{where}, from SIGTERM to the end", f"{stopped_s:.2f} s")
    assert stopped_s <= MOST_STOP_S or not SOAK
