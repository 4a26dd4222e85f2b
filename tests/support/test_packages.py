"""Nothing is left out silently: a test that lacks a tool says so, and fails under CI."""

import re
from pathlib import Path

import pytest

from tests.support import packages
from tests.support.packages import PACKAGES, missing, need

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the name of a package that is not there."""
    monkeypatch.setattr(packages, "PACKAGES", {"nosuch": "/usr/lib/nosuch-*/x", "base": "sh"})
    return "nosuch"


def test_a_test_that_lacks_a_package_is_left_out(
    lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says which one, and what installs it."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs Debian's nosuch: make packages"):
        need("base", lacking)


def test_under_ci_it_fails(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a run of everything that is green left nothing out."""
    monkeypatch.setenv("CI", "true")
    need("base")
    with pytest.raises(pytest.fail.Exception, match="needs Debian's nosuch"):
        need("base", lacking)


def test_a_file_and_a_program_are_found(lacking: str) -> None:
    """What is there is not installed again."""
    assert missing("base", lacking) == [lacking]
    assert packages.found("base") is not None


def test_what_is_not_there_is_told_to_who_may_not_install(
    lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without root, it prints the command, and exits."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    packages.install("base")
    with pytest.raises(SystemExit, match=r"sudo apt-get install .* nosuch"):
        packages.install("base", lacking)


def test_ci_installs_them_and_hacking_names_them() -> None:
    """`.ci/run` says CI=true and installs; who hacks finds every package on the page."""
    run = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^export CI=true", run, re.MULTILINE)
    assert "make packages\n" in run[: run.index("make test")]
    page = (ROOT / "HACKING.md").read_text()
    for name in PACKAGES:
        assert f"`{name}`" in page
