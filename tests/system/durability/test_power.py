"""The power is cut at any instant: what was acknowledged is on the disk, whole."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.figures import figure
from tests.support.preload import built
from tests.support.process import ROOT
from tests.support.soak import SOAK

RECORDINGS, STATES = (20, 1000) if SOAK else (2, 75)
TURNS = 60

pytestmark = pytest.mark.needs("gcc", "libc6-dev")


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the recorder."""
    return built("recorder", tmp_path_factory.mktemp("recorder"))


def record(recorder: Path, place: Path, seed: int, synchronous: str) -> Path:
    """Run the workload under the recorder; return the recording."""
    files = place / f"files-{synchronous}-{seed}"
    files.mkdir()
    log = place / f"log-{synchronous}-{seed}"
    watched = {"LD_PRELOAD": str(recorder), "RECORD_LOG": str(log), "RECORD_DIR": str(files)}
    words = [files / "ledger.sqlite", seed, TURNS, f"--synchronous={synchronous}"]
    _run("workload", words, watched)
    return log


def replay(log: Path, states: int, seed: int) -> dict[str, Any]:
    """Replay a recording in a process of its own."""
    found: dict[str, Any] = json.loads(_run("replay", [log, states, seed], {}))
    return found


def _run(module: str, words: Sequence[object], more: dict[str, str]) -> str:
    command = [sys.executable, "-m", f"tests.system.durability.{module}", *map(str, words)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | more, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_no_power_cut_loses_or_corrupts_a_decision(recorder: Path, tmp_path: Path) -> None:
    """At every replayed instant all that was acknowledged is there, and the fold is whole."""

    def one(seed: int) -> dict[str, Any]:
        return replay(record(recorder, tmp_path, seed, ""), STATES, seed)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(one, range(RECORDINGS)))
    states = sum(found["states"] for found in results)
    figure("power cut", "states replayed", states)
    figure("power cut", "states with a lost decision", sum(found["lost"] for found in results))
    figure("power cut", "corrupt states", sum(len(found["corrupt"]) for found in results))
    assert states == RECORDINGS * STATES
    for found in results:
        assert found["acknowledged"] > TURNS
        assert not found["lost"]
        assert not found["corrupt"]


@pytest.mark.soak
def test_without_a_sync_the_power_cut_shows(recorder: Path, tmp_path: Path) -> None:
    """The control: with synchronous=NORMAL the same replay must find lost decisions."""
    found = replay(record(recorder, tmp_path, 1, "NORMAL"), STATES // 3, 1)
    lost = found["lost"] + len(found["corrupt"])
    said = f"{lost} of {found['states']} states, {len(found['corrupt'])} noticed at the start"
    figure("power cut", "lost with synchronous=NORMAL (control)", said)
    assert lost > found["states"] / 10
