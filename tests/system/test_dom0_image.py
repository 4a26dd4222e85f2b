"""Which Debian the dom0 of the real-Xen tests is made of, and from where; nothing is built here."""

from pathlib import Path

import pytest

from tests.dom0 import debian, recipe

KEYS = Path("/keys.gpg")
BOOKWORM = """Debian|bookworm|http://deb.debian.org/debian|main
Debian|bookworm-updates|http://deb.debian.org/debian|main
Debian|bookworm-security|http://security.debian.org|main
Debian Backports|bookworm-backports|http://deb.debian.org/debian|main
Google|cloud-sdk-bookworm|http://packages.example|main
"""
OF_TRIXIE = """deb [signed-by=/keys.gpg] http://deb.debian.org/debian trixie main
deb [signed-by=/keys.gpg] http://deb.debian.org/debian trixie-updates main
deb [signed-by=/keys.gpg] http://security.debian.org trixie-security main
"""


@pytest.mark.parametrize("ours", ["bookworm", "trixie", "forky"])
def test_any_debian_says_where_the_other_is(monkeypatch: pytest.MonkeyPatch, ours: str) -> None:
    """The sites are this machine's, the suite is that of the release; backports are left out."""
    targets = BOOKWORM.replace("bookworm", ours)
    monkeypatch.setattr(debian, "_output", lambda *_: targets)
    assert debian._sources("trixie", KEYS) == OF_TRIXIE


def test_a_machine_without_debian_ends_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where apt knows no source of Debian, there is nothing to build from."""
    monkeypatch.setattr(debian, "_output", lambda *_: "Ubuntu|noble|http://x|main\n")
    with pytest.raises(SystemExit):
        debian._sources("trixie", KEYS)


def test_the_environment_chooses_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """XEN names it, without it there is a default, and another one ends with a sentence."""
    for xen in recipe.RELEASES:
        monkeypatch.setenv("XEN", xen)
        assert recipe.chosen().xen == xen
    monkeypatch.delenv("XEN")
    assert recipe.chosen().xen == recipe.DEFAULT
    monkeypatch.setenv("XEN", "4.99")
    with pytest.raises(SystemExit, match=r"XEN=4\.99"):
        recipe.chosen()


@pytest.mark.parametrize("release", recipe.RELEASES.values(), ids=lambda release: release.xen)
def test_a_release_has_the_packages_of_its_own_xen(release: recipe.Release) -> None:
    """Hypervisor and utilities are of one version, and what all have is there as well."""
    assert {f"xen-utils-{release.xen}", f"xen-hypervisor-{release.xen}-amd64"} <= {
        *release.packages
    }
    assert set(recipe.PACKAGES) < set(release.packages)


def test_what_cannot_run_is_named_with_its_reason() -> None:
    """The beginning of a test's id is enough, and other tests run."""
    release = recipe.Release("4.99", 99, "sid", "3.99", 1, 1, {"test_a.py::test_one": "too slow"})
    assert release.why_not("test_a.py::test_one[pv1]") == "too slow"
    assert release.why_not("test_a.py::test_two") is None
