"""Each release's package, built twice; only when asked for: `make deb-check` (`-m package`)."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.package.bill import RELEASES, Release
from tests.system.package.unpacked import ROOT, Unpacked

BUILD = ROOT / "deploy" / "debian" / "build.py"
BUILT_WITHIN_S = 900


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what builds the package, unless it was asked for."""
    ours = [item for item in items if item.get_closest_marker("package")]
    if ours and "package" not in config.option.markexpr:
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if item not in ours]


@pytest.fixture(scope="session", params=RELEASES.values(), ids=lambda one: f"debian-{one.number}")
def release(request: pytest.FixtureRequest) -> Release:
    """Give each release that there is a package for."""
    found: Release = request.param
    return found


@pytest.fixture(scope="session")
def both(release: Release, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Give two packages of this checkout, built at the same time in folders of their own."""
    subprocess.run(
        ["make", "-s", "-C", ROOT / "deploy" / "interpose"], check=True
    )  # shared by both
    folders = [tmp_path_factory.mktemp("built") for _ in range(2)]
    command = [sys.executable, BUILD, "--debian", str(release.number)]
    builds = [subprocess.Popen([*command, folder]) for folder in folders]
    try:
        for build in builds:
            assert build.wait(BUILT_WITHIN_S) == 0
    finally:
        for build in builds:
            build.kill()
            build.wait()
    return [next(folder.glob("*.deb")) for folder in folders]


@pytest.fixture(scope="session")
def package(both: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    """Give one of them, unpacked."""
    return Unpacked(both[0], tmp_path_factory.mktemp("unpacked"))
