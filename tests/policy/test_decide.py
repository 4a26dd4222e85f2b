"""Decisions: examples of each wish, with the numbers. What holds of all is in *_laws.py."""

import pytest

from maxmemd.policy.components import MAX_MEM, SLACK
from maxmemd.policy.decide import Picture, decide
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.rules import Rules
from maxmemd.policy.verdicts import Effects, Grant
from maxmemd.policy.wishes import (
    SetMaxMem,
    SetTarget,
)
from maxmemd.units import END_KIB, UNLIMITED_PAGES
from tests.policy.values import (
    ROM,
    RULES,
    SLACK_KIB,
    amounts,
    granted,
    kib,
    picture_of,
    record_of,
    refused,
    store_of,
    xen_of,
)

DOM0 = xen_of(0, max_pages=UNLIMITED_PAGES, tot_pages=524288)
HVM = xen_of(hvm=True)


def test_mem_max() -> None:
    """mem-max sets the operator's limit, static-max, and the slack as configured; others stay."""
    rules = Rules(slack=kib(2048))
    picture = picture_of(record_of(65536, rom=256), rules=rules)
    grant = granted(decide(picture, SetMaxMem(kib(131072))))
    assert amounts(grant.record) == {MAX_MEM: 131072, SLACK: 2048, ROM: 256}
    assert grant.record.static_max == kib(131072)
    assert grant.effects == Effects(static_max=kib(131072))


@pytest.mark.parametrize(
    ("limit", "options", "verdict"),
    [
        (65536, {}, None),
        (
            65535,
            {},
            ("limit-below-target", {"max_mem_kib": 65535, "target_kib": 65536, "short_by_kib": 1}),
        ),
        (0, {"force": True}, None),
        (END_KIB - 1025, {}, None),
        (
            END_KIB - 1024,
            {},
            ("limit-out-of-range", {"limit_kib": END_KIB, "below_kib": END_KIB}),
        ),
    ],
    ids=["at-target", "below", "forced", "largest", "too-large"],
)
def test_mem_max_at_its_edges(
    limit: int, options: dict[str, bool], verdict: tuple[str, dict[str, int]] | None
) -> None:
    """mem-max goes down to the target, by force below it, and up to what a sum can hold."""
    seen = decide(picture_of(), SetMaxMem(kib(limit), **options))
    assert verdict == (None if isinstance(seen, Grant) else refused(seen))


def test_mem_max_without_a_floor() -> None:
    """Where the configuration says floor = none, the target stops nothing."""
    granted(decide(picture_of(rules=Rules(floor="none")), SetMaxMem(kib(0))))


@pytest.mark.parametrize("force", [False, True])
def test_dom0_keeps_its_floor(*, force: bool) -> None:
    """dom0's limit stays at its floor or above, by force or not; no guest has that floor."""
    picture = picture_of(store=store_of(65536, 131072), xen=DOM0)
    granted(decide(picture, SetMaxMem(kib(131072), force=force)))
    assert refused(decide(picture, SetMaxMem(kib(131071), force=force))) == (
        "limit-below-dom0-floor",
        {"max_mem_kib": 131071, "floor_kib": 131072},
    )
    granted(decide(picture_of(), SetMaxMem(kib(131071), force=force)))


def test_mem_set() -> None:
    """mem-set moves the target and, enforcing, the operator's limit; static-max stays recorded."""
    picture = picture_of(
        record_of(131072, static_max=131072, rom=256), store_of(65536, 131072, 8192), xen=HVM
    )
    grant = granted(decide(picture, SetTarget(kib(98304))))
    assert amounts(grant.record) == {MAX_MEM: 98304, SLACK: SLACK_KIB, ROM: 256}
    assert grant.record.static_max == kib(131072)
    assert grant.effects == Effects(kib(98304 - 8192 + SLACK_KIB), None, kib(98304 - 8192))


def test_mem_set_by_a_difference() -> None:
    """A difference moves memory/target; video RAM is added to the limit, and 0 is the least."""
    picture = picture_of(store=store_of(57344, 131072, 8192))
    grant = granted(decide(picture, SetTarget(by_kib=4096)))
    assert grant.record.amount(MAX_MEM) == kib(57344 + 4096 + 8192)
    assert grant.effects == Effects(target=kib(61440))
    least = granted(decide(picture, SetTarget(by_kib=-(2**53))))
    assert (least.effects.target, least.record.amount(MAX_MEM)) == (kib(0), kib(8192))


def test_mem_set_by_nothing() -> None:
    """A difference of 0 leaves the target where it is."""
    grant = granted(decide(picture_of(store=store_of(57344, 131072)), SetTarget(by_kib=0)))
    assert grant.effects == Effects(target=kib(57344))


def test_the_largest_target_leaves_room_for_the_slack() -> None:
    """The PoD target is target and slack, so their sum is bound even where no limit changes."""
    picture = picture_of(store=store_of(65536, END_KIB - 1), xen=HVM)
    most = END_KIB - 1 - SLACK_KIB
    grant = granted(decide(picture, SetTarget(kib(most), enforce=False)))
    assert grant.effects == Effects(kib(END_KIB - 1), None, kib(most))
    assert refused(decide(picture, SetTarget(kib(most + 1), enforce=False))) == (
        "limit-out-of-range",
        {"limit_kib": END_KIB, "below_kib": END_KIB},
    )


def test_mem_set_that_does_not_enforce() -> None:
    """Without enforcing no component changes; the target is written all the same."""
    before = record_of(131072, rom=256)
    picture = picture_of(before, store_of(65536, 131072), xen=HVM)
    grant = granted(decide(picture, SetTarget(kib(32768), enforce=False)))
    assert amounts(grant.record) == amounts(before)
    assert grant.effects == Effects(kib(32768 + SLACK_KIB), None, kib(32768))


@pytest.mark.parametrize(
    ("wish", "store", "verdict"),
    [
        (
            SetTarget(kib(131076)),
            store_of(65536, 131072),
            (
                "target-above-static-max",
                {"target_kib": 131076, "static_max_kib": 131072, "over_by_kib": 4},
            ),
        ),
        (
            SetTarget(kib(8191)),
            store_of(65536, 131072, 8192),
            ("target-below-videoram", {"target_kib": 8191, "videoram_kib": 8192}),
        ),
        (SetTarget(kib(4)), store_of(65536), ("static-max-unknown", {})),
        (SetTarget(by_kib=4), store_of(None, 131072), ("target-unknown", {})),
        (
            SetTarget(by_kib=END_KIB - 65536),
            store_of(65536, 131072),
            ("limit-out-of-range", {"limit_kib": END_KIB, "below_kib": END_KIB}),
        ),
    ],
    ids=["static-max", "videoram", "no-static-max", "no-target", "out-of-range"],
)
def test_mem_set_refused(
    wish: SetTarget, store: StoreFacts, verdict: tuple[str, dict[str, int]]
) -> None:
    """mem-set refuses what libxl refuses, and the underflow that libxl does not see."""
    assert refused(decide(picture_of(store=store), wish)) == verdict


def test_dom0s_nodes_are_seeded() -> None:
    """If dom0's nodes are missing, its target is what it holds and static-max its maximum."""
    bare = picture_of(store=store_of(), xen=DOM0._replace(max_pages=1048576))
    grant = granted(decide(bare, SetTarget(by_kib=-4096)))
    assert grant.effects == Effects(None, kib(4194304), kib(524288 * 4 - 4096))
    over = decide(bare, SetTarget(kib(4194308)))
    assert refused(over)[1] == {
        "target_kib": 4194308,
        "static_max_kib": 4194304,
        "over_by_kib": 4,
    }
    known = picture_of(store=store_of(262144, 524288), xen=DOM0)
    assert granted(decide(known, SetTarget(by_kib=4))).effects == Effects(target=kib(262148))


def test_dom0s_target_has_a_floor() -> None:
    """dom0's target stays at its floor or above; it gets no PoD target."""
    picture = picture_of(store=store_of(262144, 524288), xen=DOM0._replace(hvm=True))
    grant = granted(decide(picture, SetTarget(kib(131072))))
    assert grant.effects.pod_target is None
    assert refused(decide(picture, SetTarget(kib(131071)))) == (
        "target-below-dom0-floor",
        {"target_kib": 131071, "floor_kib": 131072},
    )


def test_a_target_beside_an_absurd_static_max() -> None:
    """If static-max is the largest amount, the sum is refused and nothing overflows."""
    picture = picture_of(store=store_of(END_KIB - 1, END_KIB - 1, 8192), xen=HVM)
    for wish in (
        SetTarget(by_kib=0),
        SetTarget(by_kib=0, enforce=False),
        SetTarget(kib(END_KIB - 1)),
    ):
        assert refused(decide(picture, wish))[0] == "limit-out-of-range"


def test_a_picture_without_facts_of_xen_is_not_dom0s() -> None:
    """Without facts of Xen no floor of dom0 applies."""
    assert not Picture(RULES, record_of(), None, StoreFacts()).is_dom0
    assert Picture(RULES, record_of(), DOM0, StoreFacts()).is_dom0
    facts: XenFacts = xen_of(1)
    assert not Picture(RULES, record_of(), facts, StoreFacts()).is_dom0
