"""Decisions on components, rollbacks and imports: examples, with the numbers."""

from dataclasses import replace

import pytest

from maxmemd.policy.components import MAX_MEM, SLACK
from maxmemd.policy.decide import Picture, decide
from maxmemd.policy.facts import StoreFacts
from maxmemd.policy.rules import Rules
from maxmemd.policy.verdicts import NO_EFFECTS, Effects, Refusal
from maxmemd.policy.wishes import (
    Headroom,
    Import,
    Increase,
    RemoveComponent,
    Rollback,
    SetComponent,
    Wish,
)
from maxmemd.units import END_KIB, UNLIMITED_PAGES
from tests.policy.values import (
    ROM,
    RULES,
    SLACK_KIB,
    VGA,
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


def test_a_component_is_set() -> None:
    """A component is what its owner says, and writes nothing but the maximum."""
    grant = granted(decide(picture_of(record_of(rom=4)), SetComponent(ROM, kib(256))))
    assert (amounts(grant.record)[ROM], grant.effects) == (256, NO_EFFECTS)


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        (SetComponent(("bios", "rom"), kib(4)), "unknown-owner"),
        (SetComponent(SLACK, kib(4)), "component-fixed"),
        (SetComponent(MAX_MEM, kib(65535)), "limit-below-target"),
        (SetComponent(ROM, kib(END_KIB - 1)), "limit-out-of-range"),
        (Increase(("bios", "rom"), 4), "unknown-owner"),
        (Increase(SLACK, 4), "component-fixed"),
        (Increase(MAX_MEM, -1), "limit-below-target"),
        (Increase(ROM, -5), "component-below-zero"),
        (Increase(ROM, END_KIB - 4), "limit-out-of-range"),
        (RemoveComponent(MAX_MEM), "component-required"),
        (RemoveComponent(SLACK), "component-fixed"),
        (RemoveComponent(VGA), "unknown-component"),
        (Rollback(9), "unknown-revision"),
        (Import({ROM: kib(4)}, None), "component-required"),
        (Import({MAX_MEM: kib(4), ("bios", "rom"): kib(4)}, None), "unknown-owner"),
        (Import({MAX_MEM: kib(END_KIB - 1024)}, None), "limit-out-of-range"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_refusals_of_components(wish: Wish, code: str) -> None:
    """Each clause refuses the wish that it looks at."""
    assert refused(decide(picture_of(record_of(rom=4)), wish))[0] == code


def test_another_owner_may_be_named() -> None:
    """An owner that the configuration names may hold components."""
    rules = Rules(owners=RULES.owners | {"introspection"})
    key = ("introspection", "views")
    grant = granted(decide(picture_of(rules=rules), Increase(key, 64)))
    assert grant.record.amount(key) == kib(64)


@pytest.mark.parametrize("wish", [SetComponent(VGA, kib(4)), Increase(VGA, 4)])
def test_a_record_has_so_many_components(wish: Wish) -> None:
    """One component more than the rules allow is refused."""
    picture = picture_of(record_of(rom=4), rules=Rules(max_components=3))
    assert refused(decide(picture, wish)) == (
        "too-many-components",
        {"components": 4, "at_most": 3},
    )


def test_a_component_is_removed() -> None:
    """A removed component is no part of the sum."""
    grant = granted(decide(picture_of(record_of(64, rom=4)), RemoveComponent(ROM)))
    assert (amounts(grant.record), grant.effects) == (amounts(record_of(64)), NO_EFFECTS)


@pytest.mark.parametrize("static_max", [None, 131072])
def test_rollback_restores(static_max: int | None) -> None:
    """Rolling back restores components and static-max exactly, as a new revision."""
    past = record_of(81920, static_max=static_max, revision=1, vga=8)
    picture = picture_of(record_of(65536, static_max=65536, rom=4), past=past)
    grant = granted(decide(picture, Rollback(1)))
    assert (amounts(grant.record), grant.record.static_max) == (amounts(past), past.static_max)
    assert grant.record.revision == 4
    assert grant.effects == Effects(static_max=past.static_max)


def test_rollback_is_under_the_floor_like_any_limit() -> None:
    """Rolling back below the target is refused, and can be forced; dom0's floor cannot."""
    picture = picture_of(past=record_of(65535, revision=1))
    assert refused(decide(picture, Rollback(1)))[0] == "limit-below-target"
    granted(decide(picture, Rollback(1, force=True)))
    dom0 = picture_of(store=store_of(), xen=DOM0, past=record_of(65535, revision=1))
    assert refused(decide(dom0, Rollback(1, force=True)))[0] == "limit-below-dom0-floor"


def test_rollback_to_what_never_was() -> None:
    """The revision that the history has not is named."""
    assert refused(decide(picture_of(), Rollback(9))) == ("unknown-revision", {"revision": 9})


def test_rollback_to_what_is_no_longer_kept() -> None:
    """A revision below the record's own was there: revisions have no gaps."""
    picture = picture_of(record_of(revision=5))
    for gone in (1, 4):
        assert refused(decide(picture, Rollback(gone))) == ("revision-pruned", {"revision": gone})
    for never in (0, 5, 6):
        assert refused(decide(picture, Rollback(never)))[0] == "unknown-revision"


def test_a_static_max_that_is_not_recorded_is_not_written() -> None:
    """There is nothing to write then, and the reconciler asks for that by identity."""
    past = picture_of(past=record_of(65536, revision=1))
    assert granted(decide(past, Rollback(1))).effects is NO_EFFECTS
    same = Import({MAX_MEM: kib(65536)}, None)
    assert granted(decide(picture_of(), same)).effects is NO_EFFECTS


def test_rollback_to_the_empty_record() -> None:
    """A past without an operator's limit has no floor to keep."""
    past = replace(record_of(), components={}, revision=1)
    assert granted(decide(picture_of(past=past), Rollback(1))).record.components == {}


def test_import_for_a_domain_that_is_not_here() -> None:
    """A record may come ahead of its domain; the slack is this host's."""
    picture = Picture(RULES, replace(record_of(), components={}, revision=0), None, StoreFacts())
    wish = Import({MAX_MEM: kib(64), SLACK: kib(9999), ROM: kib(4)}, None)
    grant = granted(decide(picture, wish))
    assert amounts(grant.record) == {MAX_MEM: 64, SLACK: SLACK_KIB, ROM: 4}
    assert (grant.record.revision, grant.record.static_max) == (1, None)


def test_import_keeps_dom0s_floor() -> None:
    """An imported record does not starve dom0, by force either."""
    for force in (False, True):
        wish = Import({MAX_MEM: kib(131071)}, kib(4), force=force)
        assert refused(decide(picture_of(xen=DOM0), wish))[0] == "limit-below-dom0-floor"
    wish = Import({MAX_MEM: kib(131071)}, kib(4))
    assert granted(decide(picture_of(), wish)).effects == Effects(static_max=kib(4))
    wish = Import({MAX_MEM: kib(131071)}, None)
    assert refused(decide(picture_of(xen=DOM0), wish))[0] == "limit-below-dom0-floor"
    enough, low = kib(131072), kib(131071)
    wish = Import({MAX_MEM: enough}, low)
    assert refused(decide(picture_of(xen=DOM0), wish))[0] == "limit-below-dom0-floor"
    granted(decide(picture_of(xen=DOM0), Import({MAX_MEM: enough}, enough)))
    past = record_of(131072, static_max=131071, revision=1)
    dom0 = picture_of(store=store_of(), xen=DOM0, past=past)
    assert refused(decide(dom0, Rollback(1, force=True)))[0] == "limit-below-dom0-floor"


@pytest.mark.parametrize(
    ("max_mem", "target", "store", "code"),
    [
        (65536, None, store_of(65536, 65536), None),
        (65535, None, store_of(65536, 65536), "limit-below-target"),
        (65535, 65535, store_of(65536, 65536), None),  # the target comes with it
        (65535, 65536, store_of(4, 65536), "limit-below-target"),
        (64512, None, store_of(), None),  # with the slack it is what the guest holds
        (64511, None, store_of(), "limit-below-held"),
    ],
)
def test_an_import_keeps_the_floor_of_a_living_domain(
    max_mem: int, target: int | None, store: StoreFacts, code: str | None
) -> None:
    """As any decision on max-mem does; by force, or ahead of the domain, it is as it comes."""
    aim = None if target is None else kib(target)
    wish = Import({MAX_MEM: kib(max_mem)}, None, aim)
    before = record_of(131072, rom=4)
    verdict = decide(picture_of(before, store), wish)
    assert (refused(verdict)[0] if isinstance(verdict, Refusal) else None) == code
    granted(decide(picture_of(before, store), replace(wish, force=True)))
    granted(decide(Picture(RULES, before, None, StoreFacts()), wish))


def test_a_record_that_is_imported_as_it_is_changes_nothing_below_the_floor() -> None:
    """What was forced can be exported and put back; a component less is a change."""
    before, store = record_of(4096, rom=4), store_of(65536, 65536)
    same = {MAX_MEM: kib(4096), ROM: kib(4)}
    granted(decide(picture_of(before, store), Import(same, None)))
    less = Import({MAX_MEM: kib(4096)}, None)
    assert refused(decide(picture_of(before, store), less))[0] == "limit-below-target"


def test_an_owner_grows_up_to_its_cap() -> None:
    """What is set, increased or made room for stays below the owner's cap; others are not bound."""
    rules = Rules(caps={"device-model": kib(64)})
    picture = picture_of(record_of(rom=32), rules=rules)
    for wish in (SetComponent(VGA, kib(33)), Increase(ROM, 33), Headroom(2**20)):
        code, numbers = refused(decide(picture, wish))
        assert (code, numbers["cap_kib"], numbers["held_kib"]) == ("above-owner-cap", 64, 32)
    granted(decide(picture, SetComponent(VGA, kib(32))))
    granted(decide(picture, SetComponent(("toolstack", "acpi"), kib(65))))
    granted(decide(picture_of(record_of(rom=128), rules=rules), Increase(ROM, -4)))


def test_no_target_that_returns_is_below_dom0s_floor() -> None:
    """Neither by a rollback, forced or not, nor with an imported record."""
    past = replace(record_of(131072, revision=1), target=kib(131071))
    dom0 = picture_of(store=store_of(), xen=DOM0, past=past)
    assert refused(decide(dom0, Rollback(1, force=True)))[0] == "target-below-dom0-floor"
    wish = Import({MAX_MEM: kib(131072)}, None, kib(131071))
    assert refused(decide(picture_of(xen=DOM0), wish))[0] == "target-below-dom0-floor"
    granted(decide(picture_of(), wish))
