"""Each clause about what a guest has: what it lets pass, what it refuses, and its numbers."""

from collections.abc import Callable

import pytest

from maxmemd.policy import bounds
from maxmemd.policy.facts import NO_PATH, StoreFacts, UnreadableNode
from maxmemd.policy.rules import Rules
from maxmemd.policy.verdicts import Refusal
from tests.policy.values import RULES, Refuses, kib, xen_of

FREE = Rules(floor="none")
RUNS, BUILT = xen_of(), xen_of()._replace(cpu_time_ns=0, paused=True)
GARBAGE = {
    node: UnreadableNode(f"memory/{node}", value)
    for node, value in (("target", "-1"), ("static-max", "abc"), ("videoram", "zz"))
}


PASSES: dict[str, Callable[[], Refusal | None]] = {
    "at-target": lambda: bounds.not_below_target(RULES, kib(8), kib(8)),
    "no-target": lambda: bounds.not_below_target(RULES, kib(8), None),
    "at-held": lambda: bounds.not_below_held(RULES, kib(1), 65536, RUNS, StoreFacts()),
    "held-no-floor": lambda: bounds.not_below_held(FREE, kib(1), 2, RUNS, StoreFacts()),
    "held-in-build": lambda: bounds.not_below_held(RULES, kib(1), 2, BUILT, StoreFacts()),
    "videoram": lambda: bounds.videoram_readable(StoreFacts(unreadable=(GARBAGE["target"],))),
    "no-floor": lambda: bounds.not_below_target(FREE, kib(8), kib(9)),
    "at-dom0-floor": lambda: bounds.max_mem_not_below_dom0_floor(RULES, kib(131072)),
    "target-at-dom0-floor": lambda: bounds.target_not_below_dom0_floor(RULES, kib(131072)),
    "at-videoram": lambda: bounds.not_below_videoram(kib(8), kib(8)),
    "at-static-max": lambda: bounds.not_above_static_max(kib(8), kib(8)),
}
"""What each clause still lets pass, at its very edge."""


REFUSES = [
    Refuses(
        lambda: bounds.not_below_target(RULES, kib(65532), kib(65536)),
        "limit-below-target",
        "cannot set max-mem to 65532 KiB: the balloon target is 65536 KiB, 4 KiB more"
        " (lower the target first, or force)",
        {"max_mem_kib": 65532, "target_kib": 65536, "short_by_kib": 4},
    ),
    Refuses(
        lambda: bounds.max_mem_not_below_dom0_floor(RULES, kib(131071)),
        "limit-below-dom0-floor",
        "cannot set dom0's max-mem to 131071 KiB: its floor is 131072 KiB",
        {"max_mem_kib": 131071, "floor_kib": 131072},
    ),
    Refuses(
        lambda: bounds.target_not_below_dom0_floor(RULES, kib(131071)),
        "target-below-dom0-floor",
        "cannot set dom0's target to 131071 KiB: its floor is 131072 KiB",
        {"target_kib": 131071, "floor_kib": 131072},
    ),
    Refuses(
        lambda: bounds.not_below_videoram(kib(8191), kib(8192)),
        "target-below-videoram",
        "cannot set the target to 8191 KiB: video RAM alone is 8192 KiB",
        {"target_kib": 8191, "videoram_kib": 8192},
    ),
    Refuses(
        lambda: bounds.not_below_held(RULES, kib(64), 1088, RUNS, StoreFacts()),
        "limit-below-held",
        "cannot set max-mem to 64 KiB: the guest holds 65536 KiB, 64448 KiB more than the limit of"
        " 1088 KiB that it would have, and it has no memory/target in xenstore (set max-mem to what"
        " it holds, or force)",
        {"max_mem_kib": 64, "limit_kib": 1088, "held_kib": 65536, "short_by_kib": 64448},
    ),
    Refuses(
        lambda: bounds.not_below_held(
            RULES, kib(64), 1088, RUNS, StoreFacts(unreadable=(GARBAGE["target"],))
        ),
        "limit-below-held",
        "cannot set max-mem to 64 KiB: the guest holds 65536 KiB, 64448 KiB more than the limit of"
        " 1088 KiB that it would have, and memory/target in xenstore is '-1', which is no amount"
        " (set max-mem to what it holds, or force)",
        {"max_mem_kib": 64, "limit_kib": 1088, "held_kib": 65536, "short_by_kib": 64448},
    ),
    Refuses(
        lambda: bounds.videoram_readable(StoreFacts(unreadable=(GARBAGE["videoram"],))),
        "videoram-unknown",
        "cannot set the target: memory/videoram in xenstore is 'zz', which is no amount (what the"
        " guest has besides is not known: write the node first)",
        {},
    ),
    Refuses(
        lambda: bounds.static_max_unknown(StoreFacts(unreadable=(GARBAGE["static-max"],))),
        "static-max-unknown",
        "cannot set the target: memory/static-max in xenstore is 'abc', which is no amount"
        " (set its max-mem first: that writes it)",
        {},
    ),
    Refuses(
        lambda: bounds.static_max_unknown(NO_PATH),
        "static-max-unknown",
        "cannot set the target: xenstore does not know the domain (set its max-mem instead)",
        {},
    ),
    Refuses(
        lambda: bounds.target_unknown(StoreFacts(unreadable=(GARBAGE["target"],))),
        "target-unknown",
        "cannot move the target: memory/target in xenstore is '-1', which is no amount"
        " (give target_kib)",
        {},
    ),
    Refuses(
        lambda: bounds.static_max_unknown(StoreFacts()),
        "static-max-unknown",
        "cannot set the target: the domain has no memory/static-max in xenstore"
        " (set its max-mem first: that writes it)",
        {},
    ),
    Refuses(
        lambda: bounds.not_above_static_max(kib(65540), kib(65536)),
        "target-above-static-max",
        "cannot set the target to 65540 KiB: static-max is 65536 KiB, 4 KiB less"
        " (raise it first with mem-max)",
        {"target_kib": 65540, "static_max_kib": 65536, "over_by_kib": 4},
    ),
    Refuses(
        lambda: bounds.target_unknown(StoreFacts()),
        "target-unknown",
        "cannot move the target: the domain has no memory/target in xenstore (give target_kib)",
        {},
    ),
]
"""Each refusal, as clients see it."""


@pytest.mark.parametrize("ask", PASSES.values(), ids=PASSES)
def test_passes(ask: Callable[[], Refusal | None]) -> None:
    """At the very edge a clause lets pass."""
    assert ask() is None


@pytest.mark.parametrize(
    "case", REFUSES, ids=[f"{n}-{case.code}" for n, case in enumerate(REFUSES)]
)
def test_refuses(case: Refuses) -> None:
    """One past the edge a clause refuses, with its code, its sentence and its numbers."""
    assert case.ask() == Refusal(case.code, case.detail, case.numbers)


def test_a_refusal_says_its_numbers() -> None:
    """The sentence alone has every number and name that the numbers have."""
    for case in REFUSES:
        for name, number in case.numbers.items():
            assert str(number).removeprefix("-") in case.detail, (name, case.detail)
