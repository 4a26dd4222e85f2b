"""A daemon in this process, and the real one in its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.inside import Inside
from tests.api.outside import Outside


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
