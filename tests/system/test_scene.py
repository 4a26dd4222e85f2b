"""What `make run` shows comes out as told, and README.md shows what comes out."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from maxmemd.xen.simulated import SimulatedHost
from tests.support.inside import Inside

ROOT = Path(__file__).parents[2]
SCENE = ROOT / "deploy" / "scene.py"
README = (ROOT / "README.md").read_text(encoding="utf-8")
VARIES = re.compile(r" +|by \S+ \(uid \d+\)|\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ")
"""Who plays, and when, and the width of the columns with it."""


@pytest.fixture(scope="module")
def played() -> list[str]:
    """Give every line of the scene, which must end well."""
    env, scene = {**os.environ, "RUN_ONCE": "1"}, [sys.executable, str(SCENE)]
    ended = subprocess.run(
        scene, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=99,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout
    return ended.stdout.splitlines()


def test_every_step_comes_out_as_told(played: list[str]) -> None:
    """The scene ends well, and says so."""
    assert "Every step had its expected result." in played


@pytest.mark.parametrize("begins", ["maxmemd on a SIMULATED host", "$ maxmemctl explain"])
def test_the_readme_shows_what_is_printed(played: list[str], begins: str) -> None:
    """Each line of its two transcripts is printed, in this order."""
    blocks = re.findall(r"```(?:text|console)\n(.*?)```", README, re.DOTALL)
    (block,) = (block for block in blocks if block.startswith(begins))
    rest = iter([VARIES.sub(" ", line) for line in played])
    for line in block.splitlines():
        assert line in ("", "...") or VARIES.sub(" ", line) in rest, line


def test_the_readme_shows_what_is_answered(tmp_path: Path) -> None:
    """After the scene, the request of its curl line is answered with each part that is shown."""
    found = re.search(r"-d '(.+?)' http://maxmemd(\S+)\n(.*)\n", README)
    assert found is not None
    body, path, shown = found.groups()
    with Inside(tmp_path, SimulatedHost.demo()) as api:
        api.put("/v1/domains/web/limit", {"max_mem_kib": 700 * 1024})
        api.put("/v1/domains/web/components/device-model/roms", {"amount_kib": 256})
        api.put("/v1/domains/web/limit", {"max_mem_kib": 800 * 1024})
        answer = api.ask("PUT", path, json.loads(body)).text
    at = 0
    for part in shown.split("..."):
        assert part in answer[at:], part
        at = answer.index(part, at) + len(part)
