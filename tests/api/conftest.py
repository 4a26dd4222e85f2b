"""A daemon in this process, and the real one in its own."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.inside import Inside
from tests.support.outside import Outside
from tests.support.siege import MOST_GROWTH_KIB, SQLITES
from tests.support.until import until


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Inside]:
    """Give a daemon without its socket, on a host with three guests."""
    with Inside(tmp_path) as inside:
        yield inside


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """Give the real daemon on the simulated host, over a Unix socket."""
    with Outside(tmp_path_factory.mktemp("daemon")) as outside:
        yield outside


@pytest.fixture
def bounded(daemon: Outside) -> Iterator[Outside]:
    """Give the daemon, warmed up; afterwards demand that nothing was left behind."""
    for _ in range(20):
        assert daemon.ask("GET", "/v1/domains")[0] == 200
    rss_kib, descriptors = daemon.rss_kib(), daemon.descriptors()
    said = len(daemon.said())
    yield daemon
    assert daemon.ask("GET", "/v1/health")[0] == 200
    assert daemon.running.poll() is None
    until("descriptors are given back", lambda: daemon.descriptors() <= descriptors + SQLITES)
    growth_kib = daemon.rss_kib() - rss_kib
    assert growth_kib < MOST_GROWTH_KIB
    assert "Traceback" not in daemon.said()[said:]


@pytest.fixture
def room() -> Iterator[int]:
    """Let this process open as many connections as a test wants; give how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    assert hard >= 1200, f"a thousand connections need a hard limit of 1200 descriptors, not {hard}"
    yield 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
