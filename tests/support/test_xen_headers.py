"""Xen's headers come from Debian's archive only, and a test that lacks them says so."""

from pathlib import Path

import pytest

from tests.support import xen_headers
from tests.support.xen_headers import REQUIRED, headers_of, sources, suites

ROWS = """\
Debian|http://mirror/debian|bookworm|main
Debian|http://mirror/debian|bookworm-updates|main
Debian|http://mirror/debian-security|bookworm-security|main
Debian|http://mirror/debian|bookworm-backports|main
Debian|http://mirror/debian|bookworm|contrib
Other|http://elsewhere/apt|stable|main
"""
"""What apt-get indextargets prints."""


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be on a Debian 12 with an empty cache; give the cache."""
    monkeypatch.setattr(xen_headers, "CACHE", tmp_path)
    monkeypatch.setattr(xen_headers, "KEYRING", tmp_path / "none")
    monkeypatch.setattr(xen_headers, "run", lambda *_command, **_: ROWS)
    monkeypatch.setattr(
        xen_headers.platform, "freedesktop_os_release", lambda: {"VERSION_CODENAME": "bookworm"}
    )
    return tmp_path


def test_a_release_comes_with_its_updates_from_the_machines_mirror() -> None:
    """Security's too; nothing of other archives, and nothing of backports."""
    assert list(sources("trixie")) == [
        "deb http://mirror/debian trixie main",
        "deb http://mirror/debian trixie-updates main",
        "deb http://mirror/debian-security trixie-security main",
    ]


def test_another_suite_has_no_updates() -> None:
    """Sid has no security archive, and apt would fail."""
    assert list(sources("sid")) == ["deb http://mirror/debian sid main"]


def test_what_was_fetched_is_tested_besides_what_is_required(machine: Path) -> None:
    """The newest headers of each suite are found by its name."""
    for name in ("trixie_4.20.4_0a", "sid_4.23.0_0b", ".partial-x"):
        (machine / name / "usr" / "include").mkdir(parents=True)
    assert suites() == [*REQUIRED, "sid"]
    assert headers_of("sid") == machine / "sid_4.23.0_0b" / "usr" / "include"


@pytest.mark.parametrize(("ci", "ends"), [("", pytest.skip), ("true", pytest.fail)])
def test_a_test_without_headers_is_left_out_and_fails_under_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, ends: type
) -> None:
    """It says which package, and what fetches it."""
    monkeypatch.setenv("CI", ci)
    with pytest.raises(ends.Exception, match=r"libxen-dev \(trixie\): make packages"):
        headers_of("trixie")
