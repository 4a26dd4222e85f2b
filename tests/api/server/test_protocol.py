"""What the guard bounds that the attacks over the real socket can only show as root."""

from collections.abc import Iterator
from typing import Any, cast

import pytest

from tests.system.fuzz.still import Transport
from tests.system.fuzz.target import UIDS, Target, Watched

IN_ALL, OF_THEM_RESERVED, OF_THOSE_FOR_ADMINS = 2048, 256, 64
"""As docs/access.md says."""
ADMIN, TOOLSTACK, DEVICE_MODEL, OBSERVER, NOBODY = UIDS


@pytest.fixture
def target() -> Iterator[Target]:
    """Give the daemon without its socket."""
    found = Target()
    yield found
    found.close()


def lets_in(target: Target, uid: int, others: int) -> bool:
    """Return whether a connection is served where so many others are open."""
    transport = Transport(uid)
    connection = Watched(target._http, target._state, {}, target._loop)
    target._state.connections.update(cast(Any, [object() for _ in range(others)]))
    target._loop.step(lambda: connection.connection_made(transport))
    target._loop.step(lambda: connection.connection_lost(None))
    target._state.connections.clear()
    return not transport.aborted


@pytest.mark.parametrize("uid", UIDS)
def test_a_crowd_leaves_room(target: Target, uid: int) -> None:
    """The last ones are for admins and toolstacks, even if other clients hold all the rest."""
    reserved = {ADMIN: 0, TOOLSTACK: OF_THOSE_FOR_ADMINS}.get(uid, OF_THEM_RESERVED)
    assert lets_in(target, uid, IN_ALL - reserved - 1)
    assert not lets_in(target, uid, IN_ALL - reserved)
