"""A simulated host in a process of its own, and the pusher's process on it."""

from collections.abc import Iterator

import pytest

from maxmemd.pusher.client import PusherClient
from maxmemd.pusher.connect import ChildConnector
from tests.pusher.test_server import FLOOR, MIB, SERVE, WITHIN_S
from tests.support.simhost import SimHost


@pytest.fixture
def sim() -> Iterator[SimHost]:
    """Give a host in a process of its own, with one HVM guest of domid 1."""
    with SimHost() as sim:
        sim.call("create", "db", kind="hvm", memory=MIB(128), maxmem=MIB(256))
        yield sim


@pytest.fixture
def child(sim: SimHost) -> Iterator[ChildConnector]:
    """Give the process, on that host, as a child that is started when it is needed."""
    child = ChildConnector(FLOOR, SERVE, "--host", str(sim.path))
    yield child
    child.close()


@pytest.fixture
def pusher(child: ChildConnector) -> Iterator[PusherClient]:
    """Give the way to it."""
    pusher = PusherClient(child, patience_s=WITHIN_S)
    yield pusher
    pusher.close()
