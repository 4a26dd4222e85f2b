"""A fact that cannot be read switches no rule off."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxmemd.policy.components import MAX_MEM
from maxmemd.policy.decide import decide
from maxmemd.policy.facts import NO_PATH, StoreFacts, UnreadableNode
from maxmemd.policy.verdicts import Effects, Grant
from maxmemd.policy.wishes import Import, Rollback, SetComponent, SetMaxMem, SetTarget
from maxmemd.units import Memory
from tests.policy.values import (
    RULES,
    SLACK_KIB,
    granted,
    kib,
    picture_of,
    record_of,
    refused,
    xen_of,
)

HELD = 65536
STATIC = kib(2 * HELD)


def without(node: str, value: str | None) -> StoreFacts:
    """Return what xenstore says where one node is absent, or holds this."""
    seen = StoreFacts("guest", kib(HELD), STATIC, kib(8192))
    fields = {"target": None, "static_max": None, "videoram": kib(0)}
    field = node.replace("-", "_")
    unreadable = () if value is None else (UnreadableNode(f"memory/{node}", value),)
    return seen._replace(**{field: fields[field]}, unreadable=unreadable)


NO_TARGET = [without("target", None), without("target", "-1"), without("target", "abc"), NO_PATH]
XEN = xen_of(tot_pages=HELD // 4)


@pytest.mark.parametrize("store", NO_TARGET, ids=["absent", "-1", "abc", "no path"])
@given(max_mem=st.integers(0, 2 * HELD), others=st.integers(0, HELD))
def test_without_a_target_no_wish_goes_below_what_the_guest_holds(
    store: StoreFacts, max_mem: int, others: int
) -> None:
    """Whatever sets max-mem is granted down to what is held, by force below, and in a build."""
    now, past = record_of(2 * HELD, rom=others), record_of(max_mem, rom=others)
    picture = picture_of(now, store, xen=XEN, past=past)
    wishes = [
        SetMaxMem(kib(max_mem)),
        SetComponent(MAX_MEM, kib(max_mem)),
        Rollback(past.revision),
    ]
    limit = max_mem + others + SLACK_KIB
    for wish in wishes:
        verdict = decide(picture, wish)
        assert isinstance(verdict, Grant) == (limit >= HELD), verdict
        if not isinstance(verdict, Grant):
            assert refused(verdict) == (
                "limit-below-held",
                {
                    "max_mem_kib": max_mem,
                    "limit_kib": limit,
                    "held_kib": HELD,
                    "short_by_kib": HELD - limit,
                },
            )
    granted(decide(picture, SetMaxMem(kib(max_mem), force=True)))
    built = picture_of(now, store, xen=XEN._replace(cpu_time_ns=0, paused=True))
    granted(decide(built, SetMaxMem(kib(max_mem))))


def test_a_rollback_counts_only_what_it_restores() -> None:
    """A component that the earlier revision does not have is no room for what is held."""
    past = record_of(HELD // 2)
    picture = picture_of(record_of(HELD, rom=HELD), NO_TARGET[0], xen=XEN, past=past)
    assert refused(decide(picture, Rollback(past.revision)))[0] == "limit-below-held"


def test_dom0_without_a_target_keeps_what_it_holds() -> None:
    """Its limit does not go below its memory, whatever its floor is."""
    picture = picture_of(store=NO_TARGET[1], xen=xen_of(0, tot_pages=2**20))
    assert refused(decide(picture, SetMaxMem(kib(2**21))))[0] == "limit-below-held"
    granted(decide(picture, SetMaxMem(kib(2**22))))


def test_an_import_without_an_instance_has_no_floor() -> None:
    """A record that comes ahead of its domain is about nothing that holds pages."""
    picture = replace(picture_of(store=StoreFacts()), xen=None)
    granted(decide(picture, Import({MAX_MEM: kib(4)}, None)))


@pytest.mark.parametrize(
    ("node", "value", "wish", "code"),
    [
        ("videoram", "zz", SetTarget(kib(HELD)), "videoram-unknown"),
        ("videoram", "zz", SetTarget(by_kib=4), "videoram-unknown"),
        ("static-max", "abc", SetTarget(kib(HELD)), "static-max-unknown"),
        ("target", "abc", SetTarget(by_kib=4), "target-unknown"),
    ],
)
@pytest.mark.parametrize("domid", [0, 7])
def test_a_target_needs_what_it_is_reckoned_with(
    domid: int, node: str, value: str, wish: SetTarget, code: str
) -> None:
    """What is there and is no amount is refused and named, and not taken for absent, dom0's too."""
    picture = picture_of(store=without(node, value), xen=xen_of(domid, tot_pages=2**20))
    verdict = decide(picture, wish)
    assert refused(verdict)[0] == code
    assert f"memory/{node} in xenstore is '{value}'" in str(getattr(verdict, "detail", ""))


def test_a_move_of_the_target_alone_needs_no_video_ram() -> None:
    """It changes no limit, and memory/target is without video RAM anyway."""
    picture = picture_of(store=without("videoram", "zz"), xen=XEN)
    wish = SetTarget(by_kib=-4, enforce=False)
    assert granted(decide(picture, wish)).effects == Effects(target=kib(HELD - 4))


def test_mem_max_puts_a_static_max_right_that_is_no_amount() -> None:
    """It writes the node, so that what follows in the batch can read it."""
    store = without("static-max", "abc")
    grant = granted(decide(picture_of(store=store, xen=XEN), SetMaxMem(STATIC)))
    after = grant.effects.on(store)
    assert (after.static_max, after.unreadable) == (STATIC, ())
    assert grant.effects.on(NO_PATH) is NO_PATH
    assert Memory(kib=0) == RULES.slack - kib(SLACK_KIB)
