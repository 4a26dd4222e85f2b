"""The Debian package as it is installed: lintian, where things go, whose they are, what is inside.

Two builds of one checkout, so that whatever differs is the machine's and not ours.
"""

import hashlib
import json
import re
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.system.package.bill import RELEASES, Release, building, demand_lock, demand_schema
from tests.system.package.unpacked import ROOT, Unpacked, faults, lintian

pytestmark = [pytest.mark.package, pytest.mark.timeout(1800)]
OVERRIDES = ROOT / "deploy" / "debian" / "lintian-overrides"


def test_lintian(both: list[Path]) -> None:
    """It has no error, no warning, and no override that nothing needs any more."""
    said = lintian(both[0])
    assert said, "lintian said nothing at all: not even what is overridden"
    assert faults(said) == []


def test_every_override_has_a_reason() -> None:
    """Before each override, or group of them, stands a sentence that says why."""
    groups = OVERRIDES.read_text(encoding="utf-8").strip().split("\n\n")
    for group in groups:
        reasons = [line for line in group.splitlines() if line.startswith("#")]
        assert group.startswith("#"), group
        assert len(" ".join(reasons)) > 40, group


def test_nothing_is_installed_elsewhere(package: Unpacked) -> None:
    """Every file is in a place that docs/service.md names, and every such place has one."""
    text = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    table = text.partition("<!-- installed -->")[2].partition("<!-- end -->")[0]
    named = re.findall(r"`(/[^`]+)`", table)
    files = [one.path for one in package.installed() if not one.is_folder]
    assert [path for path in files if not any(_is_in(path, place) for place in named)] == []
    assert [place for place in named if not any(_is_in(path, place) for path in files)] == []


def _is_in(path: str, place: str) -> bool:
    return path.startswith(place) if place.endswith("/") else path == place


def test_it_is_roots_and_nobody_else_may_write(package: Unpacked) -> None:
    """Nothing is set-uid, nothing belongs to anybody but root, and only root may write."""
    for one in package.installed():
        assert one.owner == "root/root", one
        assert "s" not in one.mode.lower(), one
        assert one.mode.startswith("l") or (one.mode[5], one.mode[8]) == ("-", "-"), one


def test_two_builds_are_the_same(both: list[Path]) -> None:
    """What is built of one checkout is the same, byte by byte."""
    one, two = both
    assert one.read_bytes() == two.read_bytes()


def test_it_is_for_its_release(package: Unpacked, release: Release) -> None:
    """Its name, version and dependencies are the release's, and so is what it has compiled."""
    version = release.version(building()._version())
    assert package.package.name == f"maxmemd_{version}_amd64.deb"
    control = package.read("DEBIAN/control").decode()
    assert f"\nVersion: {version}\n" in control
    assert f"\nDepends: {release.depends}\n" in control
    compiled = [path.name for path in (package.folder / building().HOME / "site").rglob("*.so")]
    wrong = [name for name in compiled if f"-{release.tag[2:]}-" not in name and "abi3" not in name]
    assert (wrong, len(compiled) > 5) == ([], True)
    assert list(package.folder.rglob("*.pyc")) == []


def test_a_library_for_a_newer_glibc_stops_the_build(package: Unpacked, release: Release) -> None:
    """What needs a symbol that the release's glibc lacks is found, and named."""
    building().demand_glibc(package.folder, release)
    older = replace(release, glibc=13)
    with pytest.raises(SystemExit, match=r"glibc 2.13: usr/lib/maxmemd/.* needs \w+ of 2[.]\d+"):
        building().demand_glibc(package.folder, older)


def test_an_older_debians_version_is_lower() -> None:
    """So the package is upgraded with Debian, and one that the archive had would be newer."""
    versions = [RELEASES[number].version("1.0") for number in sorted(RELEASES)]
    for lower, higher in pairwise([*versions, "1.0-1", RELEASES[12].version("1.1")]):
        subprocess.run(["dpkg", "--compare-versions", lower, "lt", higher], check=True)


def test_nothing_of_the_machine_is_inside(package: Unpacked) -> None:
    """No file names a folder of the machine that built it."""
    for path in package.folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            for private in (str(ROOT), str(package.folder), "maxmemd-deb-"):
                assert private.encode() not in data, path


def test_the_bill_is_what_is_inside(package: Unpacked) -> None:
    """The SBOM names each library whose .dist-info is in the package, and that C library's hash."""
    build = building()
    bill = json.loads(package.read(build.SBOM))
    demand_schema(bill)
    demand_lock(bill, (ROOT / "requirements.lock").read_text(encoding="utf-8"))
    found = (one.stem for one in (package.folder / build.HOME / "site").glob("*.dist-info"))
    inside = {canonicalize_name(one.rpartition("-")[0]): one.rpartition("-")[2] for one in found}
    told = {one["name"]: one["version"] for one in bill["components"] if "pypi" in one["purl"]}
    assert inside == {**told, "maxmemd": build._version()}
    again = package.read(f"{build.HOME}/interpose/libmaxmem-interpose.so")
    (library,) = (one for one in bill["components"] if "generic" in one["purl"])
    assert library["hashes"][0]["content"] == hashlib.sha256(again).hexdigest()
