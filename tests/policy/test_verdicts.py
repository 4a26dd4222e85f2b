"""Effects: how those of two wishes join, and what the ledger keeps of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxmemd.policy.codec import effects_from_text, effects_to_text
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from tests.policy.values import kib, store_of

AMOUNT = st.one_of(st.none(), st.integers(0, 9).map(kib))
EFFECTS = st.builds(Effects, AMOUNT, AMOUNT, AMOUNT).map(
    lambda effects: NO_EFFECTS if effects == NO_EFFECTS else effects
)


@given(EFFECTS, EFFECTS)
def test_the_later_value_stands(first: Effects, second: Effects) -> None:
    """Of two effects on one thing the later one is written, zero like any other."""
    both = first.then(second)
    for name in ("pod_target", "static_max", "target"):
        later, earlier = getattr(second, name), getattr(first, name)
        assert getattr(both, name) == (earlier if later is None else later)


@given(EFFECTS)
def test_words_round_trip(effects: Effects) -> None:
    """What the ledger keeps of open effects is all of them."""
    assert effects_from_text(effects_to_text(effects)) == effects


@given(EFFECTS)
def test_nothing_to_write_is_one_value(effects: Effects) -> None:
    """No effects are always NO_EFFECTS itself: the reconciler asks by identity."""
    again = effects_from_text(effects_to_text(effects))
    assert (again is NO_EFFECTS) == (effects == NO_EFFECTS)
    assert effects.then(NO_EFFECTS) is effects
    assert NO_EFFECTS.then(effects) is effects


@pytest.mark.parametrize(
    ("effects", "target", "static_max"),
    [
        (NO_EFFECTS, 32, 64),
        (Effects(pod_target=kib(8)), 32, 64),
        (Effects(target=kib(0)), 0, 64),
        (Effects(static_max=kib(0)), 32, 0),
        (Effects(kib(8), kib(96), kib(16)), 16, 96),
    ],
    ids=["none", "pod-only", "target", "static-max", "all"],
)
def test_what_xenstore_will_say(effects: Effects, target: int, static_max: int) -> None:
    """What is written replaces what was there; the name and video RAM are never written."""
    assert effects.on(store_of(32, 64, videoram=4)) == store_of(target, static_max, videoram=4)


def test_words_name_their_unit() -> None:
    """The ledger's text is in KiB, and only of what is to be written."""
    text = effects_to_text(Effects(kib(4), None, kib(0)))
    assert text == '{"pod_target_kib":4,"target_kib":0}'
    assert effects_to_text(NO_EFFECTS) is None
