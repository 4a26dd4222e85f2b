"""The lives of a domain: adoption, drift taken over, rebirths that go on and that contradict."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxmemd.policy import lives
from maxmemd.policy.components import (
    MAX_MEM,
    OBSERVABLE,
    POPULATED,
    SLACK,
    STATIC_MAX,
    Component,
    Record,
)
from maxmemd.policy.endings import (
    CRASH,
    POWEROFF,
    REBOOT,
    SOFT_RESET,
    SUSPEND,
    UNSEEN,
    WATCHDOG,
    Ending,
)
from maxmemd.policy.facts import StoreFacts
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from maxmemd.units import UNLIMITED, UNLIMITED_PAGES
from tests.policy.values import (
    ROM,
    RULES,
    SLACK_KIB,
    amounts,
    kib,
    record_of,
    records,
    store_of,
    xen_of,
)

PAGES = st.one_of(st.integers(0, 2**20), st.integers(0, UNLIMITED_PAGES), st.just(UNLIMITED_PAGES))
OPTIONAL = st.one_of(st.none(), st.integers(0, 2**20))


@pytest.mark.parametrize(
    ("max_pages", "limit", "slack"),
    [
        (16640, 65536, 1024),
        (257, 4, 1024),
        (256, 0, 1024),
        (255, 1020, 0),
        (0, 0, 0),
        (UNLIMITED_PAGES, UNLIMITED.kib - 1024, 1024),
    ],
)
def test_adoption_takes_the_maximum_apart(max_pages: int, limit: int, slack: int) -> None:
    """The maximum is libxl's slack and the operator's limit; too little is all operator's."""
    record = lives.adopted(RULES, xen_of(max_pages=max_pages), store_of(static_max=131072))
    assert amounts(record) == {MAX_MEM: limit, SLACK: slack}
    assert (record.revision, record.static_max) == (1, kib(131072))


def test_an_adopted_record_is_its_domains() -> None:
    """It has the domain's UUID, and a first revision that says all there is."""
    record = lives.adopted(RULES, xen_of(), store_of())
    assert record.uuid == xen_of().uuid
    assert {part.revision for part in record.components.values()} == {1}


def test_a_maximum_of_0_sets_no_max_mem() -> None:
    """A domain that has only been created has a maximum of 0: its max-mem waits for a revision."""
    record = lives.adopted(RULES, xen_of(max_pages=0), store_of())
    assert record.components == {MAX_MEM: Component(kib(0), 0), SLACK: Component(kib(0), 1)}


def test_more_than_xen_can_count_is_unlimited() -> None:
    """What is above Xen's largest number is that number, and no larger one is recorded."""
    record = lives.adopted(RULES, xen_of(max_pages=2**40), store_of())
    assert record.limit == UNLIMITED


@given(PAGES)
def test_adoption_never_changes_the_maximum(max_pages: int) -> None:
    """Pushing an adopted record would write what Xen holds; unlimited stays unlimited."""
    record = lives.adopted(RULES, xen_of(max_pages=max_pages), store_of())
    assert record.limit.max_pages == max_pages


@given(records(st.integers(0, 2**22)), PAGES)
def test_with_maximum_never_changes_the_maximum(record: Record, max_pages: int) -> None:
    """The sum is Xen's maximum, unless what the other owners said is more by itself."""
    after = lives.with_maximum(RULES, record, max_pages)
    others = {k: n for k, n in amounts(record).items() if k not in (MAX_MEM, SLACK)}
    assert {k: n for k, n in amounts(after).items() if k not in (MAX_MEM, SLACK)} == others
    assert after.limit.max_pages == max(max_pages, sum(others.values()) // 4)
    assert after.amount(MAX_MEM) is not None
    assert (after.revision, after.static_max) == (record.revision + 1, record.static_max)


@pytest.mark.parametrize(
    ("max_pages", "rom", "limit", "slack"),
    [
        (16640, 256, 65280, 1024),
        (320, 256, 0, 1024),
        (300, 256, 944, 0),
        (64, 256, 0, 0),
        (63, 256, 0, 0),
    ],
)
def test_with_maximum_beside_a_device_model(
    max_pages: int, rom: int, limit: int, slack: int
) -> None:
    """The operator's limit gives way first, then the slack, and the device model's never."""
    after = lives.with_maximum(RULES, record_of(65536, rom=rom), max_pages)
    assert amounts(after) == {MAX_MEM: limit, SLACK: slack, ROM: rom}


def test_a_maximum_that_was_taken_over_is_observed_and_no_decision() -> None:
    """Neither max-mem nor static-max outlives the instance, also where a client decided both."""
    decided = record_of(65536, static_max=65536)
    assert lives.with_maximum(RULES, decided, 16640).observed == {MAX_MEM}
    taken = lives.with_maximum(RULES, decided, 16640, static_max=kib(32768))
    assert (taken.observed, taken.static_max) == (OBSERVABLE, kib(32768))


@pytest.mark.parametrize(
    ("wanted", "seen", "building", "push"),
    [
        (8, 8, False, False),
        (8, 7, False, True),
        (7, 8, False, True),
        (8, 8, True, False),
        (8, 7, True, True),
        (7, 8, True, False),
    ],
)
def test_may_push(*, wanted: int, seen: int, building: bool, push: bool) -> None:
    """What differs is pushed, but a domain that is being built is never lowered (A4)."""
    assert lives.may_push(wanted_pages=wanted, seen_pages=seen, building=building) == push


@pytest.mark.parametrize(
    ("recorded", "static_max", "target", "goes_on"),
    [
        (131072, 131072, 65536, True),
        (131072, 131072, 65536 + SLACK_KIB, True),
        (131072, 131072, 65537 + SLACK_KIB, False),
        (131072, 131076, 65536, False),
        (131072, None, 65536, True),
        (None, 131072, 65536, True),
        (None, None, None, True),
        (131072, 131072, None, True),
        (131072, 131076, None, False),
        (0, 4, 0, False),
    ],
)
def test_what_contradicts_a_decision(
    *, recorded: int | None, static_max: int | None, target: int | None, goes_on: bool
) -> None:
    """Another static-max does, and a target above max-mem by more than libxl's own constant."""
    record = record_of(65536, static_max=recorded)
    why = lives.contradiction(RULES, record, xen_of(), store_of(target, static_max))
    assert (why is None) is goes_on
    observed = replace(record, observed=OBSERVABLE)
    assert lives.contradiction(RULES, observed, xen_of(), store_of(target, static_max)) is None


@pytest.mark.parametrize("reason", [REBOOT, SUSPEND, CRASH, WATCHDOG, SOFT_RESET])
def test_what_contradicts_after_an_end_that_was_seen(reason: int) -> None:
    """A static-max may be older than the decision; a target counts above what the guest had."""
    record, ending = record_of(65536, static_max=131072), Ending(reason, "boot-1", kib(90000))
    for target, videoram, goes_on in [
        (65536, 0, True),
        (90000 + SLACK_KIB, 0, True),
        (90001 + SLACK_KIB, 0, False),
        (82000 + SLACK_KIB, 8000, True),
        (82001 + SLACK_KIB, 8000, False),
    ]:
        store = store_of(target, 99999, videoram)
        assert (lives.contradiction(RULES, record, xen_of(), store, ending) is None) is goes_on
    for reason_unseen in (POWEROFF, None):
        unseen = Ending(reason_unseen, "boot-1", kib(90000))
        assert lives.contradiction(RULES, record, xen_of(), store_of(65536, 99999), unseen)


@pytest.mark.parametrize(
    ("reason", "goes_on"), [(REBOOT, True), (SUSPEND, True), (POWEROFF, False), (None, False)]
)
def test_what_a_guest_held_counts_only_after_an_end_that_was_seen(
    reason: int | None, *, goes_on: bool
) -> None:
    """A domain that was shut down and created again is another one: its target is the new one."""
    record, ending = record_of(65536, static_max=131072), Ending(reason, "boot-1", kib(90000))
    why = lives.contradiction(RULES, record, xen_of(), store_of(90000, 131072), ending)
    assert (why is None) is goes_on


@pytest.mark.parametrize(("over_kib", "goes_on"), [(0, True), (1, False)])
def test_video_ram_is_on_both_sides_of_a_contradiction(over_kib: int, *, goes_on: bool) -> None:
    """max-mem does not have it, and neither does the target in xenstore."""
    record = record_of(65536, static_max=131072)
    store = store_of(65536 + SLACK_KIB + over_kib, 131072, 8192)
    assert (lives.contradiction(RULES, record, xen_of(), store) is None) is goes_on


@pytest.mark.parametrize(("tot_pages", "goes_on"), [(16640, True), (16641, False)])
def test_what_a_guest_holds_stands_for_a_target_that_is_missing(
    tot_pages: int, *, goes_on: bool
) -> None:
    """Nothing tells it to shrink: below what it holds its limit is not put."""
    record = record_of(65536, static_max=131072)
    why = lives.contradiction(RULES, record, xen_of(tot_pages=tot_pages), store_of())
    assert (why is None) is goes_on


@pytest.mark.parametrize(
    ("tot_pages", "store", "goes_on"),
    [
        (16640, store_of(), True),
        (16641, store_of(), False),
        (16640, store_of(2**30, 2**31), True),
        (16641, store_of(4, 131072), False),
    ],
)
def test_dom0_goes_on_with_what_the_operator_decided(
    tot_pages: int, store: StoreFacts, *, goes_on: bool
) -> None:
    """Unless it holds more: what xenstore says of it is of this boot, whatever it says."""
    record = record_of(65536, static_max=131072)
    xen = xen_of(0, tot_pages=tot_pages)
    assert (lives.contradiction(RULES, record, xen, store) is None) is goes_on
    observed = replace(record, observed=OBSERVABLE)
    assert lives.contradiction(RULES, observed, xen, store) is None


def test_observed_numbers_are_the_toolstacks_again() -> None:
    """Of an instance that goes on; what others decided comes on top of what the toolstack wrote."""
    record = replace(record_of(65536, static_max=131072, rom=8), observed=OBSERVABLE)
    after = lives.observed_again(RULES, record, xen_of(max_pages=8448), store_of(32768, 65536))
    assert amounts(after) == {MAX_MEM: 32768, SLACK: SLACK_KIB, ROM: 8}
    assert (after.static_max, after.observed) == (kib(65536), OBSERVABLE)
    same = lives.observed_again(RULES, record, xen_of(max_pages=16640), store_of())
    assert same is record


def test_a_decided_static_max_is_not_the_toolstacks_again() -> None:
    """Where max-mem was only observed and static-max decided, only max-mem is renewed."""
    record = replace(record_of(65536, static_max=131072), observed=frozenset({MAX_MEM}))
    after = lives.observed_again(RULES, record, xen_of(max_pages=8448), store_of(32768, 65536))
    assert amounts(after) == {MAX_MEM: 32768, SLACK: SLACK_KIB}
    assert (after.static_max, after.observed) == (kib(131072), {MAX_MEM})


def test_what_was_decided_is_never_observed_again() -> None:
    """Each number by itself: max-mem stays, and a static-max that was only observed is renewed."""
    record = replace(record_of(65536, static_max=131072), observed=frozenset({STATIC_MAX}))
    after = lives.observed_again(RULES, record, xen_of(max_pages=8448), store_of(32768, 65536))
    assert amounts(after) == amounts(record)
    assert (after.static_max, after.decided) == (kib(65536), {MAX_MEM})


@pytest.mark.parametrize(
    ("target", "static_max", "effects"),
    [
        (65536, 131072, NO_EFFECTS),
        (65536 + SLACK_KIB, 131072, NO_EFFECTS),
        (65537 + SLACK_KIB, 131072, Effects(kib(65536 + SLACK_KIB), None, kib(65536))),
        (65536, 99999, Effects(None, kib(131072), None)),
        (None, None, Effects(kib(65536 + SLACK_KIB), kib(131072), kib(65536))),
    ],
)
def test_what_was_confirmed_comes_back(
    target: int | None, static_max: int | None, effects: Effects
) -> None:
    """A stream may be older than the last decision; a target is exact to libxl's constant."""
    record = record_of(65536, static_max=131072).with_target(kib(65536), None)
    store = store_of(target, static_max)
    assert lives.confirmed_again(RULES, record, xen_of(hvm=True), store) == effects
    assert lives.confirmed_again(RULES, record, xen_of(0), store) is NO_EFFECTS
    observed = replace(record, target=None, observed=OBSERVABLE)
    assert lives.confirmed_again(RULES, observed, xen_of(), store) is NO_EFFECTS


def test_what_outlives_a_domain() -> None:
    """What a client decided; what a device model populated only while a stream holds it."""
    observed = replace(record_of(65536, static_max=131072), observed=OBSERVABLE)
    assert not lives.is_worth_keeping(observed, UNSEEN)
    assert lives.is_worth_keeping(observed.with_target(kib(4), None), UNSEEN)
    assert lives.is_worth_keeping(observed.with_amounts({MAX_MEM: kib(65536)}), UNSEEN)
    populated = observed.with_amounts({POPULATED: kib(4)})
    assert not lives.is_worth_keeping(populated, Ending(CRASH, "boot-1"))
    assert lives.is_worth_keeping(populated, Ending(SUSPEND, "boot-1"))


@given(records(), PAGES, OPTIONAL)
def test_a_rebuilt_record_is_an_adopted_one(
    record: Record, max_pages: int, static_max: int | None
) -> None:
    """A fresh build's record is as adopted, without a device model's share, one revision on."""
    xen, store = xen_of(max_pages=max_pages), store_of(None, static_max)
    after = lives.rebuilt(RULES, record, xen, store)
    fresh = lives.adopted(RULES, xen, store)
    assert amounts(after) == amounts(fresh)
    assert (after.static_max, after.revision) == (fresh.static_max, record.revision + 1)
    assert after.observed == fresh.observed


def test_a_record_follows_its_build() -> None:
    """While a build is followed the record takes each maximum, and static-max when it comes."""
    record = lives.adopted(RULES, xen_of(max_pages=0), store_of())
    assert lives.following_build(RULES, record, xen_of(max_pages=0), store_of()) is None

    limited = lives.following_build(RULES, record, xen_of(max_pages=16640), store_of())
    assert limited is not None
    assert amounts(limited) == {MAX_MEM: 65536, SLACK: SLACK_KIB}
    assert limited.static_max is None

    known = lives.following_build(RULES, limited, xen_of(max_pages=16640), store_of(65536, 131072))
    assert known is not None
    assert (amounts(known), known.static_max) == (amounts(limited), kib(131072))
    assert lives.following_build(RULES, known, xen_of(max_pages=16640), store_of()) is None


def test_a_decided_static_max_alone_starves_no_guest() -> None:
    """Where max-mem was only observed, the toolstack's target contradicts nothing."""
    record = replace(record_of(65536, static_max=131072), observed=OBSERVABLE - {STATIC_MAX})
    store = store_of(131072, 131072)
    assert lives.contradiction(RULES, record, xen_of(), store) is None
    assert lives.contradiction(RULES, replace(record, observed=frozenset()), xen_of(), store)


def test_what_an_instance_needs_while_it_is_built() -> None:
    """What was decided; else what the toolstack wrote, and what others decided."""
    record = record_of(65536, rom=8)
    assert lives.pages_in_build(record, 100) == record.max_pages
    observed = replace(record, observed=OBSERVABLE)
    assert lives.pages_in_build(observed, 0) == 0
    assert lives.pages_in_build(observed, 100) == 102


def test_headroom_of_one_page_more_is_the_device_models_and_nothing_else_changes() -> None:
    """Where Xen has the room already, the record still grows; what was decided stays decided."""
    record, pages = record_of(65536), 16640 - 16384 - lives.SPARE_PAGES
    xen = xen_of(max_pages=20000)
    assert lives.with_headroom(RULES, record, xen, pages, tracking=False) is record
    after = lives.with_headroom(RULES, record, xen, pages + 1, tracking=False)
    assert amounts(after) == {**amounts(record), POPULATED: 4}
    assert after.observed == frozenset()


def test_headroom_that_only_xen_lacks_is_a_revision_that_changes_no_amount() -> None:
    """It brings a push."""
    record, pages = record_of(65536), 16640 - 16384 - lives.SPARE_PAGES
    after = lives.with_headroom(RULES, record, xen_of(max_pages=16639), pages, tracking=False)
    assert (amounts(after), after.revision) == (amounts(record), record.revision + 1)


def test_headroom_during_a_build_takes_the_toolstacks_maximum_as_observed() -> None:
    """Max-mem is what the toolstack wrote, and no decision of the device model's."""
    after = lives.with_headroom(RULES, record_of(65536), xen_of(max_pages=8448), 1, tracking=True)
    missing_kib = (16384 + 1 + lives.SPARE_PAGES - 8448) * 4
    assert amounts(after) == {MAX_MEM: 32768, SLACK: SLACK_KIB, POPULATED: missing_kib}
    assert after.observed == {MAX_MEM}
