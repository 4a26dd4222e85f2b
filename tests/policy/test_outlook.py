"""Whether a guest will shrink, from facts alone."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maxmemd.policy.components import MAX_MEM, Component, Record
from maxmemd.policy.facts import NO_PATH, StoreFacts, UnreadableNode, XenFacts
from maxmemd.policy.lives import adopted
from maxmemd.policy.outlook import (
    SENTENCES,
    STILL_POLLS,
    Outlook,
    outlook_of,
    target_above_limit,
)
from tests.policy.values import RULES, UUID, kib, record_of, store_of, xen_of

FITS, ABOVE = store_of(65536, 65536), store_of(65540, 131072)
GARBAGE = StoreFacts("guest", unreadable=(UnreadableNode("memory/target", "abc"),))
RUNS = xen_of()


@pytest.mark.parametrize(
    ("xen", "store", "still", "outlook"),
    [
        (RUNS, FITS, 0, "shrinking"),
        (RUNS, FITS, STILL_POLLS - 1, "shrinking"),
        (RUNS, FITS, STILL_POLLS, "not-moving"),
        (RUNS._replace(paused=True), FITS, 0, "paused"),
        (RUNS._replace(paused=True), ABOVE, 9, "paused"),
        (RUNS._replace(shutdown=True, shutdown_reason=3), FITS, 0, "crashed"),
        (RUNS._replace(shutdown=True, shutdown_reason=0), FITS, 0, "shut-down"),
        (RUNS._replace(dying=True, shutdown_reason=3), FITS, 0, "shut-down"),
        (RUNS, NO_PATH, 0, "no-path"),
        (RUNS, StoreFacts("guest"), 0, "no-target"),
        (RUNS, GARBAGE, 0, "target-unreadable"),
        (RUNS, ABOVE, 0, "target-above-limit"),
        (RUNS, ABOVE, 9, "target-above-limit"),
    ],
)
def test_the_first_reason_why_it_does_not_shrink(
    xen: XenFacts, store: StoreFacts, still: int, outlook: str
) -> None:
    """Only a guest that runs, whose target fits, and that was not seen to stand still, will."""
    assert outlook_of(record_of(), xen, store, still) == outlook


def test_every_outlook_has_its_sentence() -> None:
    """Only one of them promises anything."""
    assert set(SENTENCES) == set(Outlook)
    promises = [outlook for outlook, said in SENTENCES.items() if said.startswith("It will shrink")]
    assert promises == [Outlook.SHRINKING]


@given(st.integers(0, 2**20), st.integers(0, 2**16), st.integers(0, 2**20))
def test_a_target_is_above_the_limit_as_libxl_reckons(
    target: int, videoram: int, max_mem: int
) -> None:
    """It fits where a mem-set to it would leave max-mem as it is, or lower it."""
    above = target_above_limit(record_of(max_mem), store_of(target, None, videoram))
    assert (above is not None) == (target + videoram > max_mem)
    if above is not None:
        assert above == (target, videoram, max_mem)
        assert f"{target} KiB" in str(above)
        assert ("video RAM" in str(above)) == bool(videoram)


@pytest.mark.parametrize("observed", [False, True])
@given(
    pages=st.integers(0, 2**20),
    target=st.integers(0, 2**22),
    videoram=st.sampled_from([0, 4, 16384]),
)
@example(pages=2097152, target=8388608, videoram=0)  # dom0_mem=8G,max:8G
@example(pages=2097152, target=8388608, videoram=4)
@example(pages=100, target=400, videoram=0)  # less than libxl's constant
def test_a_target_that_an_observed_maximum_has_room_for_is_not_above(
    observed: bool, pages: int, target: int, videoram: int
) -> None:
    """Where no client decided max-mem, what counts is Xen's number, however it is taken apart."""
    record = adopted(RULES, xen_of(max_pages=pages), store_of(target, None, videoram))
    room = pages * 4
    if not observed:
        record = record.with_amounts({MAX_MEM: record.amount(MAX_MEM)})
        room = record.max_mem_kib or 0
    above = target_above_limit(record, store_of(target, None, videoram))
    assert (above is not None) == (target + videoram > room)


def test_what_is_not_known_is_not_above() -> None:
    """No nodes, no target, or no max-mem: nothing is said."""
    assert target_above_limit(record_of(), None) is None
    assert target_above_limit(record_of(), StoreFacts()) is None
    without = Record(UUID, 1, {("device-model", "rom"): Component(kib(4), 1)})
    assert without.amount(MAX_MEM) is None
    assert target_above_limit(without, ABOVE) is None
