"""The tables of policy/states.py against the real arbiter: every schedule of what can happen."""

import pytest

from tests.support.soak import SOAK
from tests.system.models import programs
from tests.system.models.lab import Client, Lab
from tests.system.models.scheduler import explore
from tests.system.models.transitions import Taken, watched


def explored(clients: tuple[Client, ...], taken: Taken, *, polls: int) -> None:
    """Explore these clients beside an arbiter, and note which transitions are taken."""
    with watched(taken):
        lab = Lab(clients, crashes_left=0, polls_left=polls)
        lab.create()
        found = explore(lab, lambda _: None)
    assert found.violation is None, (found.violation, found.history)
    assert found.ends > 0


@pytest.mark.soak
def test_every_legal_transition_is_taken_and_no_other() -> None:
    """What the tables allow can happen, and what can happen the tables allow."""
    taken = Taken()
    alone, *beside_a_stranger = programs.troubles(2 if SOAK else 1)
    explored(alone, taken, polls=1 if SOAK else 0)
    for clients in beside_a_stranger:
        explored(clients, taken, polls=1)
    explored(programs.builds(), taken, polls=2)
    explored(programs.migration(3)[1:], taken, polls=1)
    assert taken.illegal() == set()
    assert taken.missing() == set()
