"""Announced builds and headroom: what each life makes of the record, and how much is missing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxmemd.policy import lives
from maxmemd.policy.components import (
    MAX_MEM,
    POPULATED,
    SLACK,
    STATIC_MAX,
    Component,
    Record,
)
from maxmemd.policy.decide import Picture, decide
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
from maxmemd.policy.verdicts import NO_EFFECTS
from maxmemd.policy.wishes import (
    CREATED,
    LIVES,
    MIGRATED_IN,
    RESTORED,
    UNKNOWN,
    Build,
    Headroom,
    SetMaxMem,
)
from maxmemd.units import END_KIB, UNLIMITED, UNLIMITED_PAGES, Memory
from tests.policy.values import (
    ROM,
    RULES,
    SLACK_KIB,
    UUID,
    amounts,
    granted,
    kib,
    picture_of,
    record_of,
    records,
    refused,
    xen_of,
)

NEWBORN = xen_of(max_pages=0, tot_pages=0)._replace(paused=True, cpu_time_ns=0)
OTHER = ("introspection", "trace")


def building(record: Record, *, following: bool = False, ending: Ending = UNSEEN) -> Picture:
    """Return the picture of an instance that has no page yet."""
    return Picture(RULES, record, NEWBORN, StoreFacts(), following=following, ending=ending)


def ended(reason: int, held: int = 0) -> Ending:
    """Return the end of an instance that held so many KiB."""
    return Ending(reason, "boot-1", kib(held))


def lived() -> Record:
    """Return a record with components of every owner, as an earlier instance left it."""
    record = record_of(96, static_max=128, rom=8)
    return replace(record, components={**record.components, OTHER: Component(kib(4), 2)})


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("following", [False, True])
def test_without_a_record_every_life_is_created(life: str, *, following: bool) -> None:
    """Nothing is known, or only what was seen of this very build: the toolstack's numbers it is."""
    record = record_of(0, revision=1) if following else Record(UUID, 0, {})
    after = granted(decide(building(record, following=following), Build(kib(64), life, kib(80))))
    assert after.record.decided == frozenset()
    assert after.build_pages == (64 + SLACK_KIB) // 4
    assert amounts(after.record) == {MAX_MEM: 64, SLACK: SLACK_KIB}
    assert (after.record.static_max, after.record.revision) == (kib(80), record.revision + 1)


@pytest.mark.parametrize("static_max", [None, kib(80)])
def test_created_replaces_the_record(static_max: Memory | None) -> None:
    """No component of an earlier domain is taken over, nor its static-max."""
    after = granted(decide(building(lived()), Build(kib(64), CREATED, static_max))).record
    assert amounts(after) == {MAX_MEM: 64, SLACK: SLACK_KIB}
    assert after.static_max == static_max


@pytest.mark.parametrize("life", [RESTORED, MIGRATED_IN])
@pytest.mark.parametrize(("target", "needed"), [(64, 96), (96, 96), (100, 100)])
def test_what_moves_keeps_its_record(life: str, target: int, needed: int) -> None:
    """Restored and migrated in: all that was decided stays, and the build has what it populates."""
    grant = granted(decide(building(lived()), Build(kib(target), life, kib(400))))
    after = grant.record
    assert amounts(after) == {MAX_MEM: 96, SLACK: SLACK_KIB, ROM: 8, OTHER: 4}
    assert grant.build_pages == (needed + SLACK_KIB + 12) // 4
    assert (after.static_max, after.revision) == (kib(128), lived().revision + 1)


@pytest.mark.parametrize(("target", "needed"), [(64, 96), (96 + SLACK_KIB, 96 + SLACK_KIB)])
def test_what_its_toolstack_does_not_know_goes_on(target: int, needed: int) -> None:
    """A build of an unknown life is no new domain, however the instance before ended."""
    for ending in (UNSEEN, ended(POWEROFF), ended(REBOOT)):
        grant = granted(decide(building(lived(), ending=ending), Build(kib(target), UNKNOWN)))
        assert amounts(grant.record) == {MAX_MEM: 96, SLACK: SLACK_KIB, ROM: 8, OTHER: 4}
        assert grant.record.static_max == kib(128)
        assert grant.build_pages == (needed + SLACK_KIB + 12) // 4


def test_an_unknown_build_that_asks_for_more_is_a_new_domain() -> None:
    """What was decided would starve it."""
    after = granted(decide(building(lived()), Build(kib(97 + SLACK_KIB), UNKNOWN))).record
    assert amounts(after) == {MAX_MEM: 97 + SLACK_KIB, SLACK: SLACK_KIB}
    assert after.decided == frozenset()


@pytest.mark.parametrize("life", [RESTORED, MIGRATED_IN])
def test_what_moves_starts_from_its_toolstacks_numbers(life: str) -> None:
    """What was only observed ends; the stream may hold all of it, so the build may have as much."""
    record = replace(lived(), observed=frozenset({MAX_MEM, STATIC_MAX}))
    grant = granted(decide(building(record), Build(kib(64), life, kib(80))))
    assert amounts(grant.record) == {MAX_MEM: 64, SLACK: SLACK_KIB, ROM: 8, OTHER: 4}
    assert grant.record.static_max == kib(80)
    assert grant.record.observed == {MAX_MEM, STATIC_MAX}
    assert grant.build_pages == record.max_pages


@pytest.mark.parametrize("reason", [REBOOT, CRASH, WATCHDOG, SOFT_RESET])
@pytest.mark.parametrize("target", [64, 96, 96 + SLACK_KIB, 2000 + SLACK_KIB])
def test_a_restart_keeps_all_but_the_device_model(target: int, reason: int) -> None:
    """Reboot, crash, watchdog and soft reset are one class: what was decided goes on."""
    picture = building(lived(), ending=ended(reason, held=2000))
    grant = granted(decide(picture, Build(kib(target), CREATED, kib(200))))
    assert amounts(grant.record) == {MAX_MEM: 96, SLACK: SLACK_KIB, OTHER: 4}
    assert grant.record.static_max == kib(128)
    assert grant.build_pages == (target + SLACK_KIB + 4) // 4


@pytest.mark.parametrize(
    ("reason", "target"), [(POWEROFF, 64), (SUSPEND, 64), (None, 64), (CRASH, 2001 + SLACK_KIB)]
)
def test_another_create_is_a_new_domain(reason: int | None, target: int) -> None:
    """After a power-off, and of a configuration that asks for more than there was at a crash."""
    ending = UNSEEN if reason is None else ended(reason, held=2000)
    after = granted(decide(building(lived(), ending=ending), Build(kib(target), CREATED))).record
    assert amounts(after) == {MAX_MEM: target, SLACK: SLACK_KIB}
    assert after.decided == frozenset()


def test_a_restore_after_a_reboot_is_a_restore() -> None:
    """A device model populates nothing on restore: its share must stay."""
    picture = building(lived(), ending=ended(REBOOT))
    assert ROM in granted(decide(picture, Build(kib(64), RESTORED))).record.components


def test_a_first_revision_is_a_record() -> None:
    """A domain whose record was decided on once is known: what moves keeps it."""
    after = granted(decide(building(record_of(96, revision=1)), Build(kib(64), RESTORED))).record
    assert after.amount(MAX_MEM) == kib(96)


def test_a_build_and_its_headroom_write_no_node() -> None:
    """The toolstack writes xenstore itself; nothing is owed beside the maximum."""
    for wish in (Build(kib(64), CREATED), Headroom(64)):
        assert granted(decide(building(lived()), wish)).effects is NO_EFFECTS


def test_an_empty_record_gets_a_limit() -> None:
    """A record that lost its operator's limit has the target from now on."""
    record = replace(lived(), components={})
    after = granted(decide(building(record), Build(kib(64), RESTORED))).record
    assert amounts(after) == {MAX_MEM: 64, SLACK: SLACK_KIB}


def test_the_slack_is_the_configured_one() -> None:
    """A record from elsewhere, or of another configuration, gets this host's slack."""
    record = record_of(96)
    record = replace(record, components={**record.components, SLACK: Component(kib(2048), 1)})
    after = granted(decide(building(record), Build(kib(64), MIGRATED_IN))).record
    assert after.amount(SLACK) == RULES.slack


def test_a_build_that_no_memory_holds_is_refused() -> None:
    """Target and slack must be below 2^52 KiB together."""
    wish = Build(kib(END_KIB - 1), CREATED)
    assert refused(decide(building(Record(UUID, 0, {})), wish))[0] == "limit-out-of-range"


def test_only_what_never_ran_is_built() -> None:
    """Who announces the build of a running domain means another one."""
    verdict = decide(picture_of(), Build(kib(64), CREATED))
    assert refused(verdict) == ("domain-started", {"domid": 7})


@pytest.mark.parametrize("wish", [Build(kib(64), CREATED), Headroom(1)])
def test_nothing_is_built_that_is_not_here(wish: Build | Headroom) -> None:
    """A record alone has no pages."""
    assert refused(decide(Picture(RULES, lived(), None, StoreFacts()), wish)) == ("domain-gone", {})


@pytest.mark.parametrize(
    ("tot_pages", "pages", "missing"),
    [
        (16384, 240, 0),
        (16384, 241, 1),
        (16384, 64, 0),
        (16640, 64, 80),
        (16624, 1, 1),
        (16623, 1, 0),
        (17000, 64, 440),
    ],
)
def test_headroom_is_what_is_missing(tot_pages: int, pages: int, missing: int) -> None:
    """max_pages - tot_pages - 16 pages are free; the device model's share grows by the rest."""
    record = record_of(65536)
    picture = picture_of(record, xen=xen_of(tot_pages=tot_pages, max_pages=16640))
    after = granted(decide(picture, Headroom(pages))).record
    if not missing:
        assert after is record
        return
    assert after.amount(POPULATED) == Memory.of_pages(missing)
    assert after.limit.max_pages == tot_pages + pages + lives.SPARE_PAGES
    assert (after.revision, after.amount(MAX_MEM)) == (record.revision + 1, kib(65536))


def test_headroom_adds_up() -> None:
    """What a device model has already is kept, and a limit of odd KiB is no obstacle."""
    record = record_of(65535, populated=7)
    xen = xen_of(tot_pages=16640, max_pages=record.limit.max_pages)
    after = granted(decide(picture_of(record, xen=xen), Headroom(64))).record
    assert after.limit.max_pages == 16640 + 64 + 16
    assert after.amount(POPULATED) == kib(7) + Memory.of_pages(79)


def test_headroom_beside_drift_brings_a_push() -> None:
    """The record has the room, Xen has not: nothing is added, but it is pushed."""
    record = record_of(65536)
    xen = xen_of(tot_pages=16000, max_pages=16001)
    after = granted(decide(picture_of(record, xen=xen), Headroom(64))).record
    assert (amounts(after), after.revision) == (amounts(record), record.revision + 1)


@pytest.mark.parametrize("pages", [1, 2**32 - 1])
def test_unlimited_stays_unlimited(pages: int) -> None:
    """There is room for everything."""
    record = record_of(UNLIMITED.kib)
    picture = picture_of(record, xen=xen_of(tot_pages=2**31, max_pages=UNLIMITED_PAGES))
    assert granted(decide(picture, Headroom(pages))).record is record


def test_headroom_while_a_build_is_followed() -> None:
    """The toolstack wrote a maximum that no poll has seen yet: it counts, and is kept."""
    picture = picture_of(record_of(0, revision=1), xen=xen_of(tot_pages=16640, max_pages=16700))
    picture = replace(picture, tracking=True)
    after = granted(decide(picture, Headroom(64))).record
    assert after.amount(POPULATED) == Memory.of_pages(20)
    assert after.limit.max_pages == 16720
    assert (after.amount(MAX_MEM), after.revision) == (kib(65776), 2)
    roomy = replace(picture, xen=xen_of(tot_pages=16000, max_pages=16700))
    assert granted(decide(roomy, Headroom(64))).record is picture.record


def test_a_limit_that_writes_no_node() -> None:
    """Who sets a sum by libxenctrl alone says nothing of static-max; the slack is ours."""
    record = replace(record_of(64, static_max=128), components={MAX_MEM: Component(kib(0), 1)})
    after = granted(decide(picture_of(record), SetMaxMem(kib(96), force=True, node=False)))
    assert amounts(after.record) == {MAX_MEM: 96, SLACK: SLACK_KIB}
    assert (after.record.static_max, after.effects) == (kib(128), NO_EFFECTS)


@given(
    record=records(st.integers(0, 2**30)),
    max_pages=st.integers(0, 2**30),
    tot_pages=st.integers(0, 2**30),
    pages=st.integers(1, 2**20),
    tracking=st.booleans(),
)
def test_after_headroom_there_is_room(
    record: Record, max_pages: int, tot_pages: int, pages: int, *, tracking: bool
) -> None:
    """For all facts of Xen: then the pages fit with the spare, and no other amount has changed."""
    xen = xen_of(tot_pages=tot_pages, max_pages=max_pages)
    after = lives.with_headroom(RULES, record, xen, pages, tracking=tracking)
    room = xen.max_pages if after is record else after.limit.max_pages
    assert room >= tot_pages + pages + lives.SPARE_PAGES
    followed = {POPULATED, MAX_MEM, SLACK} if tracking else {POPULATED}
    before, now = amounts(record), amounts(after)
    assert {k: n for k, n in now.items() if k not in followed} == {
        k: n for k, n in before.items() if k not in followed
    }
    assert now.get(POPULATED, 0) >= before.get(POPULATED, 0)
