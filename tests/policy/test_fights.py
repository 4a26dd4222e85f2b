"""When foreign writes are a fight, when it ends, and what would starve the guest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxmemd.policy.components import MAX_MEM, SLACK, Component, Record
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.fights import LAST_PAUSE_S, FightRules, ForeignWrites, starves
from maxmemd.units import UNLIMITED, Memory

RULES = FightRules(writes=3, within_s=10, quiet_s=100)


def after(times_s: list[float], rules: FightRules = RULES) -> ForeignWrites:
    """Return what is known after writes at these times."""
    writes = ForeignWrites()
    for at_s in times_s:
        writes = writes.with_write(rules, at_s, int(at_s * 1e9))
    return writes


@pytest.mark.parametrize(
    ("times_s", "since_s"),
    [
        ([], None),
        ([1, 2], None),
        ([1, 2, 3], 3),
        ([1, 5, 10.9], 10.9),
        ([1, 5, 11], None),
        ([1, 6, 11, 16, 21], None),
        ([1, 6, 11, 12], 12),
        ([1, 2, 3, 4, 5], 3),
        ([1, 1, 1], 1),
    ],
)
def test_so_many_within_so_long_are_a_fight(times_s: list[float], since_s: float | None) -> None:
    """The last of so many writes that came within the time begins it, and it began only once."""
    since_ns = None if since_s is None else int(since_s * 1e9)
    assert after(times_s).since_ns == since_ns


@given(st.lists(st.floats(0, 60), max_size=30).map(sorted), st.integers(2, 6), st.floats(1, 30))
def test_a_fight_is_so_many_writes_in_a_window(
    times_s: list[float], writes: int, within_s: float
) -> None:
    """There is a fight exactly where some window of the times has so many."""
    rules = FightRules(writes, within_s, 100)
    windows = zip(times_s, times_s[writes - 1 :], strict=False)
    assert after(times_s, rules).is_fight == any(last - one < within_s for one, last in windows)


@given(st.lists(st.floats(0, 60), max_size=40).map(sorted))
def test_what_is_remembered_is_bounded_and_counted(times_s: list[float]) -> None:
    """However many writes come, so many times are kept; in a fight all of them are counted."""
    writes = after(times_s)
    assert len(writes.times_s) <= RULES.writes
    if writes.since_ns is not None:
        began = next(n for n in range(len(times_s) + 1) if after(times_s[:n]).is_fight)
        assert writes.count == RULES.writes + len(times_s) - began


def test_a_fight_ends_after_quiet_time() -> None:
    """So long after the last write, wherever in the fight that came, and not earlier."""
    writes = after([1, 2, 3, 50])
    quiet = [at for at in (3, 103, 149.9, 150, 151) if writes.is_quiet(RULES, at)]
    assert quiet == [150, 151]


def test_a_fight_that_a_restart_finds_begins_its_quiet_time() -> None:
    """It is not over before so long after the first look at it."""
    found = ForeignWrites(since_ns=7)
    assert not found.is_quiet(RULES, 1e9)
    looked = found.looked_at(500).looked_at(550)
    assert [looked.is_quiet(RULES, at) for at in (599, 600)] == [False, True]


def test_ours_is_pushed_less_and_less_often() -> None:
    """The pauses double, up to a minute, and never shrink in a fight."""
    writes, now_s, pauses = after([1, 2, 3]), 3.0, []
    for _ in range(12):
        pauses.append(writes.next_s - now_s)
        now_s = writes.next_s
        writes = writes.with_push(now_s).with_write(RULES, now_s, 0)
    assert pauses[:5] == [4, 8, 16, 32, 60]
    assert pauses[5:] == [LAST_PAUSE_S] * 7


def record_of(max_mem_mib: int, other_mib: int = 0) -> Record:
    """Return a record of so much max-mem, a slack of 1 MiB, and a device model's share."""
    amounts = {MAX_MEM: max_mem_mib, SLACK: 1, ("device-model", "rom"): other_mib}
    return Record("u", 1, {key: Component(Memory.of_mib(mib), 1) for key, mib in amounts.items()})


def xen_of(max_mib: int, tot_mib: int = 100) -> XenFacts:
    """Return a guest that holds so much, of at most so much."""
    return XenFacts(1, "u", tot_mib * 256, max_mib * 256)


def store_of(target_mib: int | None, videoram_mib: int = 0) -> StoreFacts:
    """Return nodes with a target."""
    target = None if target_mib is None else Memory.of_mib(target_mib)
    return StoreFacts("web", target, None, Memory.of_mib(videoram_mib))


STARVES = [
    (record_of(400), xen_of(1157), store_of(1156), True),
    (record_of(400), xen_of(1157), store_of(400), False),
    (record_of(400), xen_of(1157), store_of(401), True),
    (record_of(400), xen_of(1157), store_of(396, 8), True),
    (record_of(400), xen_of(1157), store_of(392, 8), False),
    (record_of(400, 8), xen_of(1157), store_of(401), True),
    (record_of(400), xen_of(300), store_of(1156), False),
    (record_of(400), xen_of(401), store_of(1156), False),
    (record_of(400), xen_of(1157, 402), store_of(None), True),
    (record_of(400), xen_of(1157, 401), store_of(None), False),
    (record_of(400), xen_of(1157, 900), store_of(300), False),
    (Record("u", 1, {MAX_MEM: Component(UNLIMITED, 1)}), xen_of(100), store_of(90), False),
]


@pytest.mark.parametrize(("record", "xen", "store", "starved"), STARVES)
def test_what_starves_a_guest(
    record: Record, xen: XenFacts, store: StoreFacts, starved: bool
) -> None:
    """To lower below what the target asks for; without a target, below what it holds."""
    assert starves(record, xen, store) is starved


def test_the_numbers_of_a_real_manager() -> None:
    """A maximum of 102656 pages takes from a guest whose target is 1183616 KiB."""
    record = record_of(400)
    assert record.max_pages == 102656
    xen = XenFacts(1, "u", 102656, Memory(kib=1183616 + 1024).max_pages)
    assert starves(record, xen, StoreFacts("vm", Memory(kib=1183616)))
