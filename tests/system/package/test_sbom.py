"""The bill of what is inside: true to the lock, valid, complete, and the same each time."""

import json
import re
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from packageurl import PackageURL

from tests.system.package.bill import (
    RELEASES,
    Release,
    building,
    demand_lock,
    demand_schema,
    licence_of,
)
from tests.system.package.unpacked import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
TRIXIE = RELEASES[13]
COPYRIGHT = (ROOT / "deploy" / "debian" / "copyright").read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=RELEASES.values(), ids=lambda one: f"debian-{one.number}")
def release(request: pytest.FixtureRequest) -> Release:
    """Give each release that there is a package for."""
    found: Release = request.param
    return found


@pytest.fixture(scope="module")
def report(release: Release, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give what pip tells of the locked wheels; this asks the package index, and takes none."""
    folder = tmp_path_factory.mktemp("report")
    install = building("wheels").install_locked
    try:
        told: dict[str, Any] = install(release, folder, folder / "report.json", "--dry-run")
    except subprocess.CalledProcessError:
        pytest.skip("pip cannot ask the package index (`make deb-check` needs it as well)")
    return told


def bill_of(
    report: dict[str, Any], release: Release = TRIXIE, library: bytes = b"a library"
) -> dict[str, Any]:
    """Return the document for a report."""
    found: dict[str, Any] = json.loads(building().contents(report, release, library))
    return found


def test_it_is_true_to_the_lock(report: dict[str, Any], release: Release) -> None:
    """Every library of requirements.lock is in it, and no other; the schema takes it."""
    bill = bill_of(report, release)
    demand_schema(bill)
    demand_lock(bill, LOCK)
    package = bill["metadata"]["component"]
    version = release.version(building()._version())
    assert PackageURL.from_string(package["purl"]).to_dict() == {
        "type": "deb", "namespace": "maxmemd", "name": "maxmemd", "version": version,
        "qualifiers": {"arch": "amd64", "distro": f"debian-{release.number}"}, "subpath": None,
    }  # fmt: skip
    assert (package["version"], licence_of(package)) == (version, "GPL-2.0-or-later")
    (interposing,) = (one for one in bill["components"] if one["name"].endswith(".so"))
    assert interposing["hashes"][0]["alg"] == "SHA-256"


def test_the_wheels_are_for_its_python(report: dict[str, Any], release: Release) -> None:
    """Each is for this release's interpreter or for any, and its markers are compared with that."""
    for one in report["install"]:
        (wheel,) = re.findall(r"[^/]+[.]whl", one["download_info"]["url"].partition("#")[0])
        interpreter = wheel.split("-")[-3]
        assert interpreter.startswith("py3") or release.tag in interpreter or "-abi3-" in wheel
    assert report["environment"]["python_version"] == release.python


def test_no_pin_is_for_one_python_only() -> None:
    """A marker would be compared with the Python that pip runs on, not with the release's."""
    assert [line for line in LOCK.splitlines() if "==" in line and ";" in line] == []


def test_a_lock_that_moved_on_is_seen(report: dict[str, Any]) -> None:
    """A version, a hash or a library that the lock has not fails the comparison above."""
    bill = bill_of(report)
    for changed in (
        LOCK.replace("uvicorn==", "uvicorn==9"),
        LOCK.replace("uvicorn==", "uvicorn2=="),
        re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", LOCK),
    ):
        with pytest.raises((AssertionError, KeyError)):
            demand_lock(bill, changed)
    broken = deepcopy(bill)
    broken["components"][0]["type"] = "a thing"
    with pytest.raises(AssertionError):
        demand_schema(broken)


def test_the_same_input_gives_the_same_bytes(report: dict[str, Any]) -> None:
    """Neither the time, nor the machine, nor the order in which pip tells is in it."""
    build = building()
    other = {**report, "install": report["install"][::-1]}
    one, two = (build.contents(told, TRIXIE, b"a library") for told in (report, other))
    assert one == two
    for private in (str(ROOT), str(Path.home()), "http://localhost", "file:"):
        assert private.encode() not in one
    assert json.loads(one)["serialNumber"] != bill_of(report, library=b"another")["serialNumber"]


def test_what_needs_what(report: dict[str, Any]) -> None:
    """The package leads to each library; what only an extra or another Python needs is left out."""
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill_of(report)["dependencies"]}
    reached, waiting = set(), ["maxmemd"]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += needs[ref]
    assert reached == needs.keys()
    assert "sqlalchemy" in needs["alembic"]
    assert "tomli" not in needs


def test_a_licence_that_nobody_knows(report: dict[str, Any]) -> None:
    """A wheel that does not say its licence in SPDX's words stops the build."""
    other = deepcopy(report)
    other["install"][0]["metadata"] |= {"license_expression": None, "license": "see the website"}
    with pytest.raises(ValueError, match=r"cannot tell the licence of .*: name it in LICENCES"):
        bill_of(other)


def test_the_copyright_file_names_every_licence(report: dict[str, Any]) -> None:
    """What the SBOM says of licences, Debian's copyright file says as well."""
    for part in bill_of(report)["components"]:
        for licence in licence_of(part).replace(" AND ", " OR ").split(" OR "):
            assert licence in COPYRIGHT, part["name"]
