"""Fixtures on a real Xen. The rig boots once for all tests; guests are made when first asked for.

Only when asked for: `pytest tests/dom0` or `pytest -m xen`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dom0 import daemon as maxmemd
from tests.dom0 import interposed
from tests.dom0.guests import Guest, at_rest
from tests.dom0.interposed import Xl
from tests.dom0.machine import Machine
from tests.dom0.recipe import chosen
from tests.dom0.report import Report
from tests.dom0.rig import Rig
from tests.support.soak import SOAK

HERE = Path(__file__).resolve().parent
LAST = ("test_package.py", "test_virsh.py")
SECONDS_FOR_ONE_TEST = 2400  # the first may have to build the image, and the package is one test


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is here, and leave it out unless it was asked for; long ones want SOAK=1.

    They come after all others, and what turns the machine off comes last.
    """
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    release = chosen()
    for item in ours:
        item.add_marker(pytest.mark.xen)
        item.add_marker(pytest.mark.timeout(SECONDS_FOR_ONE_TEST))
        if why := release.why_not(f"{item.path.name}::{item.name}"):
            item.add_marker(pytest.mark.skip(reason=f"Xen {release.xen}: {why}"))
    items.sort(key=_turn)
    asked = any(Path(arg.split("::")[0]).resolve().is_relative_to(HERE) for arg in config.args)
    wanted = asked or "xen" in config.option.markexpr
    left_out = [
        item for item in ours if not wanted or (item.get_closest_marker("soak") and not SOAK)
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _turn(item: pytest.Item) -> int:
    """Return when an item's turn is: an emulated machine slows whatever runs beside it."""
    if not item.path.is_relative_to(HERE):
        return 0
    return 2 + LAST.index(item.path.name) if item.path.name in LAST else 1


@pytest.fixture(scope="session")
def machines() -> list[Machine]:
    """Give the list of machines that may be on: who boots another one turns them off first."""
    return []


@pytest.fixture(scope="session")
def rig(machines: list[Machine]) -> Iterator[Rig]:
    """Give a machine with Xen and dom0, booted once."""
    with Rig() as machine:
        machines.append(machine)
        yield machine


@pytest.fixture(scope="session")
def installed(rig: Rig) -> Rig:
    """Give the rig with this checkout's maxmemd in dom0's virtual environment."""
    maxmemd.install(rig)
    return rig


@pytest.fixture(scope="session")
def _daemon(installed: Rig) -> Iterator[maxmemd.Daemon]:
    service = maxmemd.Daemon(installed)
    yield service
    if service.running:
        service.stop()


@pytest.fixture
def daemon(_daemon: maxmemd.Daemon) -> maxmemd.Daemon:
    """Give maxmemd, running in dom0 and kept from test to test. Name it before a guest."""
    if not _daemon.running:
        _daemon.start()
    return _daemon


@pytest.fixture
def alone(installed: Rig, _daemon: maxmemd.Daemon) -> Rig:
    """Give the rig with maxmemd installed but not running. Name it before a guest."""
    if _daemon.running:
        _daemon.stop()
    return installed


@pytest.fixture(scope="session")
def library(installed: Rig) -> Rig:
    """Give the rig with the library in dom0."""
    interposed.install(installed)
    return installed


@pytest.fixture
def xl(library: Rig, daemon: maxmemd.Daemon) -> Iterator[Xl]:
    """Give an xl that asks, with the daemon there, and no guest of these tests."""
    _destroy_all(library)
    ours = Xl(library)
    ours.witness.begin()
    yield ours
    _destroy_all(library)


@pytest.fixture
def plain(library: Rig, daemon: maxmemd.Daemon) -> Iterator[Xl]:
    """Give an xl as it is, while no daemon runs: the control."""
    daemon.stop()
    theirs = Xl(library, "")
    theirs.witness.begin()
    yield theirs
    _destroy_all(library)


def _destroy_all(rig: Rig) -> None:
    for name in ("hvm2", "pvh2", "pv2"):
        rig.run(f"xl destroy {name} 2>/dev/null; true")


@pytest.fixture(scope="session")
def report(rig: Rig) -> Report:
    """Give the report that keeps what matters to docs/why-one-arbiter.md."""
    return Report(rig)


@pytest.fixture
def pv1(rig: Rig) -> Guest:
    """Give a running PV guest, as new: 128 MiB of 256, made if need be and kept."""
    return at_rest(rig, "pv1")


@pytest.fixture
def pvh1(rig: Rig) -> Guest:
    """Give a running PVH guest, as new."""
    return at_rest(rig, "pvh1")


@pytest.fixture
def hvm1(rig: Rig) -> Guest:
    """Give a running HVM guest with a device model, as new."""
    return at_rest(rig, "hvm1")


@pytest.fixture(params=["pv1", "pvh1", "hvm1"])
def guest(rig: Rig, request: pytest.FixtureRequest) -> Guest:
    """Give a guest of each kind, one after the other."""
    return at_rest(rig, request.param)
