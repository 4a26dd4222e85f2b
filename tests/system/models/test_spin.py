"""An independent tool, on models written apart, comes to the same verdicts."""

import pytest

from tests.support.soak import SOAK
from tests.system.models.expected import EXPECTED
from tests.system.models.promela import BUILD_SIDE, DEFINES, SOURCE, verified

pytestmark = pytest.mark.needs(*BUILD_SIDE)
EACH = list(EXPECTED) if SOAK else ["arbiter", "add"]


def test_every_model_is_there() -> None:
    """No model of the explorer is without its other half."""
    assert list(DEFINES) == list(EXPECTED)


@pytest.mark.soak
@pytest.mark.parametrize("name", EACH)
def test_spin_says_the_same(name: str) -> None:
    """Of every property: it holds, it does not, or not once a process is killed."""
    assert verified(name) == EXPECTED[name]


def test_a_broken_model_is_caught() -> None:
    """An arbiter that forgets the second actor's share does not hold: spin can say no."""
    sound, broken = "share[1] = next_share[1] }", "share[1] = share[1] }"
    text = SOURCE.read_text(encoding="utf-8")
    assert sound in text
    assert verified("arbiter", text.replace(sound, broken)) == "no yes no yes yes no"
