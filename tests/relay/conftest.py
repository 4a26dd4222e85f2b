"""Scenes, on the real daemon with a simulated host, and on one with scripted answers."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.relay.daemon import GRANTED
from tests.relay.scene import ROUTE, N, S, Scene
from tests.support.stand import Stand
from tests.support.stub import Stub
from tests.support.until import until


@pytest.fixture(scope="session")
def stand() -> Iterator[Stand]:
    """Give the real daemon on a simulated host that survives it."""
    with Stand(1) as one:
        one.start()
        yield one


@pytest.fixture
def scene(stand: Stand, tmp_path: Path) -> Iterator[Scene]:
    """Give a scene whose relay asks the real daemon; no relay runs yet."""
    if stand.process is None:
        stand.start()
    with Scene(tmp_path, stand.socket) as one:
        yield one


@pytest.fixture
def daemon() -> Iterator[Stub]:
    """Give a daemon with scripted answers."""
    with TemporaryDirectory() as place:
        server = Stub(str(Path(place) / "s"))
        yield server
        server.end()


@pytest.fixture
def told(daemon: Stub, tmp_path: Path) -> Iterator[Scene]:
    """Give a scene whose relay asks such a daemon."""
    with Scene(tmp_path, Path(str(daemon.server_address))) as one:
        yield one


@pytest.fixture
def served(told: Scene, daemon: Stub) -> Scene:
    """Give a scene with a stub domain whose every request is granted."""
    told.stub(S, N)
    daemon.replies[ROUTE] = GRANTED
    told.start_relay()
    until("the nodes are there", lambda: told.rights(S, "reply") is not None)
    return told
