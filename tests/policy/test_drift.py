"""Which mode is in force for a domain's drift, and until when."""

import fnmatch
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maxmemd.policy.drift import (
    DriftMode,
    DriftRules,
    Instant,
    SetMode,
    carried,
    is_match,
    is_over,
    left_s,
    overlap,
)

UUID = "51a70000-0000-4000-8000-0000000000aa"
R, A, L = DriftMode.RESTORE, DriftMode.ADOPT, DriftMode.ALERT

ANY_OF = {UUID: L, "web-1": A, "web-*": R, "w*": L, "*": A}
FOUND: list[tuple[Mapping[str, DriftMode], str | None, tuple[DriftMode, str | None]]] = [
    ({}, "web-1", (R, None)),
    (ANY_OF, "web-1", (L, UUID)),
    ({**ANY_OF, UUID: A}, None, (A, UUID)),
    ({UUID.upper(): L}, "web-1", (L, UUID.upper())),
    ({"web-1": A, "web-*": L, "*": R}, "web-1", (A, "web-1")),
    ({"*": L, "web-*": A}, "web-1", (A, "web-*")),
    ({"web-*": A, "*": L}, "db", (L, "*")),
    ({"*-1": L, "web*1": A}, "web-1", (A, "web*1")),
    ({"web": A}, "web-1", (R, None)),
    ({"WEB-*": A}, "web-1", (R, None)),
    ({"web-?": A, "web-[1]": A}, "web-1", (R, None)),
    ({"*": A}, None, (R, None)),
    ({"web.1": A}, "webx1", (R, None)),
    ({"a*": A}, "a\nb", (A, "a*")),
]


@pytest.mark.parametrize(("of", "name", "found"), FOUND)
def test_the_most_specific_key_counts(
    of: Mapping[str, DriftMode], name: str | None, found: tuple[DriftMode, str | None]
) -> None:
    """A UUID before a name, a name before patterns, the longest of those first; else the host's."""
    assert DriftRules(R, of).find(UUID, name) == found
    backwards = dict(reversed(list(of.items())))
    assert DriftRules(R, backwards).find(UUID, name) == found


PIECES = st.text("ab*", min_size=0, max_size=6)
NAMES = st.text("ab", max_size=8)


@given(PIECES, NAMES)
def test_a_star_is_any_characters(key: str, name: str) -> None:
    """Where only * is special, keys match as the shell's patterns do."""
    assert is_match(key, UUID, name) == fnmatch.fnmatchcase(name, key)


@given(PIECES, PIECES, NAMES)
@example("a*", "*b", "ab")
@example("*", "", "")
def test_what_both_match_overlaps(one: str, other: str, name: str) -> None:
    """A name that two patterns match shows that they overlap, whichever comes first."""
    both = is_match(one, UUID, name) and is_match(other, UUID, name)
    assert overlap(one, other) == overlap(other, one)
    assert overlap(one, other) or not both


@given(PIECES, PIECES)
def test_what_overlaps_has_a_name_of_both(one: str, other: str) -> None:
    """Without a name of at most all their characters, two patterns do not overlap."""
    least = one.replace("*", "") + other.replace("*", "")
    names = {""}
    for _ in least:
        names |= {name + letter for name in names for letter in "ab" if len(name) < 7}
    found = any(is_match(one, UUID, n) and is_match(other, UUID, n) for n in names)
    assert overlap(one, other) == found or len(least) > 7


@given(st.dictionaries(PIECES, st.sampled_from(DriftMode), max_size=5), NAMES)
def test_without_ambiguities_no_other_key_is_as_specific(
    of: dict[str, DriftMode], name: str
) -> None:
    """What the check lets pass leaves one mode: equally specific keys that match agree."""
    rules = DriftRules(R, of)
    mode, key = rules.find(UUID, name)
    if key is None or "*" not in key or list(rules.ambiguities()):
        return
    length = len(key.replace("*", ""))
    equal = [k for k in of if "*" in k and len(k.replace("*", "")) == length]
    assert {of[k] for k in equal if is_match(k, UUID, name)} == {mode}


def test_ambiguous_keys_are_named() -> None:
    """Equally specific patterns that a name may match both, and that do not agree."""
    of = {"a*": A, "*b": L, "*c": L, "xy*": A, "*": R}
    assert list(DriftRules(R, of).ambiguities()) == [("*b", "a*"), ("*c", "a*")]


def test_the_order_is_explained() -> None:
    """One line says which key comes first."""
    rules = DriftRules(R, {"sys-*": A, "build": L, UUID: A})
    said = f'"{UUID}" = adopt, "build" = alert, "sys-*" = adopt, any other = restore'
    assert rules.explained == said


# until when


def at(seconds: float, *, boot: str = "a", wall_s: float | None = None) -> Instant:
    """Return a moment of a boot; the wall clock goes along unless it is said."""
    return Instant(boot, seconds, int((seconds if wall_s is None else wall_s) * 1e9))


def mode_for(seconds: float | None, since: Instant) -> SetMode:
    """Return a mode that was set for so long."""
    return SetMode(A, seconds, since, since.wall_ns, "{}")


ENDS = [
    (at(100), 60.0),
    (at(130), 30.0),
    (at(159.5), 0.5),
    (at(160), 0.0),
    (at(9999), 0.0),
    (at(130, wall_s=0), 30.0),
    (at(130, wall_s=1e8), 30.0),
    (at(99), 0.0),
    (at(5, boot="b", wall_s=130), 30.0),
    (at(5, boot="b", wall_s=161), 0.0),
    (at(5, boot="b", wall_s=100), 0.0),
    (at(5, boot="b", wall_s=0), 0.0),
]


@pytest.mark.parametrize(("now", "left"), ENDS)
def test_how_much_of_a_modes_time_is_left(now: Instant, left: float) -> None:
    """Within a boot by the monotonic clock alone; across boots by a wall clock that went on."""
    assert left_s(mode_for(60, at(100)), now) == left
    assert is_over(mode_for(60, at(100)), now) == (left == 0)


def test_a_mode_without_an_end_has_none() -> None:
    """It is in force in every boot, whatever the clocks say."""
    for now, _ in ENDS:
        found = mode_for(None, at(100))
        assert (left_s(found, now), is_over(found, now)) == (None, False)
        assert carried(found, now).left_s is None


STEPS = st.lists(
    st.tuples(
        st.floats(0, 40),  # seconds that truly pass
        st.floats(-1e6, 1e6),  # by how much the wall clock jumps
        st.booleans(),  # whether the host boots meanwhile
    ),
    max_size=12,
)


@given(STEPS)
def test_no_jump_of_the_wall_clock_moves_an_end_within_a_boot(
    steps: list[tuple[float, float, bool]],
) -> None:
    """What is left is what was given less what truly passed, however often it is carried over."""
    found, passed, wall = mode_for(60, at(0)), 0.0, 0.0
    for seconds, jump, carry in steps:
        passed, wall = passed + seconds, wall + seconds + jump
        now = at(passed, wall_s=wall)
        assert left_s(found, now) == pytest.approx(max(0.0, 60 - passed))
        found = carried(found, now) if carry else found


@given(STEPS)
def test_no_sequence_of_boots_and_jumps_extends_a_mode(
    steps: list[tuple[float, float, bool]],
) -> None:
    """What is left never grows, and an ended mode stays ended."""
    found, left = mode_for(60, at(0)), 60.0
    mono, wall, boot = 0.0, 0.0, 0
    for seconds, jump, boots in steps:
        mono, wall = mono + seconds, wall + seconds + jump
        if boots:
            mono, boot = seconds, boot + 1
        now = Instant("a" if boot == 0 else str(boot), mono, int(wall * 1e9))
        found = carried(found, now)
        assert found.left_s is not None
        assert found.left_s <= left
        left = found.left_s


def test_a_clock_that_begins_again_with_each_boot_does_not_keep_a_mode() -> None:
    """Where each boot has the same wall clock, a mode is over with the first of them."""
    found = mode_for(60, at(10, wall_s=1000))
    for boot in ("b", "c"):
        found = carried(found, at(0, boot=boot, wall_s=1000))
    assert found.left_s == 0
