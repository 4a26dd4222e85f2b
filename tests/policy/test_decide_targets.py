"""The target that a record keeps: the last one decided, and what was there before the first."""

from dataclasses import replace

import pytest

from maxmemd.policy.components import MAX_MEM, Record
from maxmemd.policy.decide import decide
from maxmemd.policy.verdicts import Effects, Grant
from maxmemd.policy.wishes import Import, Rollback, SetMaxMem, SetTarget, Wish
from maxmemd.units import Memory
from tests.policy.values import RULES, granted, kib, picture_of, record_of, store_of, xen_of

FIRST, SECOND, SEEN = kib(40960), kib(49152), kib(57344)


def with_targets(target: Memory | None, former: Memory | None) -> Record:
    """Return a record that has these."""
    return replace(record_of(), target=target, former_target=former)


def grant_of(
    wish: Wish, record: Record, *, seen: Memory | None = SEEN, past: Record | None = None
) -> Grant:
    """Decide a wish where xenstore has this target."""
    store = store_of(None if seen is None else seen.kib, 65536, 8192)
    return granted(decide(picture_of(record, store, past=past), wish))


@pytest.mark.parametrize("enforce", [True, False])
def test_a_decided_target_is_recorded_with_the_one_before(enforce: bool) -> None:
    """Without its video RAM, as xenstore has it."""
    record = grant_of(SetTarget(FIRST, enforce=enforce), record_of()).record
    assert (record.target, record.former_target) == (kib(40960 - 8192), SEEN)


def test_a_later_target_keeps_what_was_before_the_first() -> None:
    """What a client decided is not what was there before clients did."""
    record = grant_of(SetTarget(SECOND), with_targets(SEEN, FIRST)).record
    assert (record.target, record.former_target) == (kib(49152 - 8192), FIRST)


def test_a_target_stays_when_something_else_is_decided() -> None:
    """A mem-max leaves it as it was decided."""
    record = grant_of(SetMaxMem(kib(65536)), with_targets(SECOND, FIRST)).record
    assert (record.target, record.former_target) == (SECOND, FIRST)


@pytest.mark.parametrize(
    ("now", "past", "after"),
    [
        # the targets of the record, of the past revision, and after the rollback
        ((SECOND, SEEN), (FIRST, SEEN), (FIRST, SEEN)),
        ((SECOND, FIRST), (None, None), (FIRST, FIRST)),
        ((None, None), (FIRST, None), (FIRST, SEEN)),
        ((None, None), (None, None), (None, None)),
    ],
)
def test_a_rollback_brings_the_target_back(
    now: tuple[Memory | None, Memory | None],
    past: tuple[Memory | None, Memory | None],
    after: tuple[Memory | None, Memory | None],
) -> None:
    """To the one of that revision; where that had none, to what was there before the first."""
    grant = grant_of(Rollback(1), with_targets(*now), past=with_targets(*past))
    assert (grant.record.target, grant.record.former_target) == after
    assert grant.effects == Effects(target=after[0])


def test_a_rollback_is_compared_with_the_target_that_it_brings_back() -> None:
    """Max-mem of that revision is below the target of now, and not below its own."""
    past = replace(record_of(45056), target=FIRST, former_target=SEEN)
    record = grant_of(Rollback(1), with_targets(SECOND, SEEN), seen=SECOND, past=past).record
    assert (record.max_mem_kib, record.target) == (45056, FIRST)


@pytest.mark.parametrize(
    ("former", "seen", "kept"), [(None, SEEN, SEEN), (None, None, None), (FIRST, SEEN, FIRST)]
)
def test_an_imported_target_is_recorded_with_the_one_before(
    former: Memory | None, seen: Memory | None, kept: Memory | None
) -> None:
    """Static-max and target of the import are written; what was before the first target stays."""
    wish = Import({MAX_MEM: kib(65536)}, kib(65536), SECOND)
    grant = grant_of(wish, with_targets(former, former), seen=seen)
    assert (grant.record.target, grant.record.former_target) == (SECOND, kept)
    assert grant.effects == Effects(None, kib(65536), SECOND)


def test_an_import_without_a_target_ends_the_recorded_one() -> None:
    """A record that comes with its domain replaces this one whole."""
    grant = grant_of(Import({MAX_MEM: kib(65536)}, None), with_targets(SECOND, FIRST))
    assert (grant.record.target, grant.record.former_target) == (None, None)
    assert grant.effects == Effects()


@pytest.mark.parametrize("wish", [Rollback(1), Import({MAX_MEM: kib(65536)}, None, FIRST)])
def test_the_populate_on_demand_target_of_an_hvm_guest_goes_with_it(wish: Wish) -> None:
    """It is the target and the slack, as where a client sets the target itself."""
    record, past = with_targets(SECOND, SEEN), with_targets(FIRST, SEEN)
    picture = picture_of(record, store_of(SEEN.kib, 65536), past=past, xen=xen_of(hvm=True))
    assert granted(decide(picture, wish)).effects == Effects(FIRST + RULES.slack, None, FIRST)
