"""What one run of the tests measured counts for `make check`, for the same sources only."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support import again, covered
from tests.support.unmeasured import unmeasured


class Runs:
    """Takes the place of the tests: how often they ran, and how they end."""

    def __init__(self) -> None:
        self.arguments: list[list[str]] = []
        self.status = 0

    def main(self, arguments: list[str]) -> int:
        """Run nothing, and end so."""
        self.arguments.append(arguments)
        return self.status


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a git checkout of one file, which `covered` takes for this one."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text(".coverage*\n")
    (tmp_path / "code.py").write_text("first = 1\n")
    monkeypatch.setattr(covered, "ROOT", tmp_path)
    monkeypatch.setattr(covered, "MEASURED", tmp_path / ".coverage")
    monkeypatch.setattr(covered, "TREE", tmp_path / ".coverage-tree")
    monkeypatch.setattr(covered, "_coverage", lambda *words: (tmp_path / ".coverage").touch())
    return tmp_path


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Give what runs instead of the tests."""
    made = Runs()
    monkeypatch.setattr(again, "main", made.main)
    return made


def test_the_tests_run_once(sources: Path, runs: Runs) -> None:
    """`make test`, then `make check`, on the same tree."""
    assert covered.main(["run", "-q", "-n", "2"]) == 0
    assert covered.main(["need", "-q"]) == 0
    assert runs.arguments == [["coverage", "-q", "-n", "2"]]


def test_without_a_measured_run_they_run(sources: Path, runs: Runs) -> None:
    """`make check` alone."""
    assert covered.main(["need", "-q"]) == 0
    assert runs.arguments == [["coverage", "-q"]]


@pytest.mark.parametrize("name", ["code.py", "new.py"])
def test_other_sources_are_measured_again(sources: Path, runs: Runs, name: str) -> None:
    """A file that changed or was added, whether git has it or not."""
    covered.main(["run"])
    (sources / name).write_text("second = 2\n")
    covered.main(["need"])
    assert len(runs.arguments) == 2


def test_a_file_that_went_is_another_tree(sources: Path, runs: Runs) -> None:
    """Also one that git still lists."""
    subprocess.run(["git", "add", "code.py"], cwd=sources, check=True)
    covered.main(["run"])
    (sources / "code.py").unlink()
    covered.main(["need"])
    assert len(runs.arguments) == 2


def test_a_run_that_failed_counts_for_nothing(sources: Path, runs: Runs) -> None:
    """Nor does the one before it."""
    covered.main(["run"])
    runs.status = 1
    assert covered.main(["run"]) == 1
    assert covered.main(["need"]) == 1
    assert len(runs.arguments) == 3


def test_without_git_nothing_is_kept(
    sources: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an unpacked archive it is not known what the sources are."""
    monkeypatch.setenv("GIT_DIR", str(sources / "nowhere"))
    covered.main(["run"])
    covered.main(["need"])
    assert len(runs.arguments) == 2


def test_the_checkout_is_what_is_measured() -> None:
    """Coverage's data and the list of files are the checkout's, not those of a folder in it."""
    assert (covered.ROOT / "pyproject.toml").is_file()


def test_a_whole_program_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither here, nor in a thread or a process that is started; afterwards all is as before."""
    monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", "{}")
    lines: list[object] = []
    found: list[object] = []

    def trace(frame: object, *_: object) -> object:
        lines.append(frame)
        return trace

    def look() -> None:
        found.append(sys.gettrace())

    before = sys.gettrace(), threading.gettrace()
    sys.settrace(trace)
    threading.settrace(trace)
    try:
        with unmeasured():
            look()
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
            assert "COVERAGE_PROCESS_CONFIG" not in os.environ
        after = sys.gettrace(), threading.gettrace()
    finally:
        sys.settrace(before[0])
        threading.settrace(before[1])  # type: ignore[arg-type]
    assert found == [None, None]
    assert after == (trace, trace)
    assert os.environ["COVERAGE_PROCESS_CONFIG"] == "{}"
