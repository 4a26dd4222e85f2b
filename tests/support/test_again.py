"""CI gives a failed test one more chance, alone, and nothing else is forgiven."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
import pathlib
FLAG = pathlib.Path(__file__).with_name("flag")

def test_sound():
    assert True

def test_shaky():
    seen, _ = FLAG.exists(), FLAG.touch()
    assert seen
"""


@pytest.mark.parametrize(
    ("broken", "ci", "status"), [(False, True, 0), (False, False, 1), (True, True, 1)]
)
def test_a_second_chance(tmp_path: Path, broken: bool, ci: bool, status: int) -> None:
    """A test that fails once is forgiven under CI, one that fails twice is not."""
    more = "\ndef test_broken():\n    assert False\n" if broken else ""
    (tmp_path / "test_it.py").write_text(TESTS + more)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [
        sys.executable,
        "-m",
        "tests.support.again",
        "-q",
        f"--rootdir={tmp_path}",
        "-c",
        os.devnull,
    ]
    done = subprocess.run(
        [*command, "-p", "no:randomly", str(tmp_path)],
        cwd=ROOT, env=kept | {"CI": str(ci).lower()}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout
    assert ("once more, alone" in done.stdout) == ci
    assert "test_shaky" in done.stdout
