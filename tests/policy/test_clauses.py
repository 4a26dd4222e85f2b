"""Each clause alone: what it lets pass, what it refuses, and the numbers that it gives."""

import pytest

from maxmemd.policy import clauses
from maxmemd.policy.clauses import Rules
from maxmemd.policy.components import MAX_MEM, SLACK, Component, Record
from maxmemd.policy.roles import Bond
from maxmemd.policy.verdicts import Refusal
from maxmemd.units import END_KIB
from tests.policy.values import ROM, RULES, UUID, kib, record_of, refused

FREE = Rules(floor="none")
OTHER = UUID[:-1] + "2"


def below_cap(before: int, after: int, cap: str = "device-model") -> Refusal | None:
    """Return what the clause says of a step from one amount to another; the cap is 1 MiB."""
    rules = Rules(caps={cap: kib(1024)})
    held, wanted = record_of(rom=before, vga=0), record_of(rom=after - 10, vga=10)
    return clauses.below_cap(rules, held, wanted, "device-model")


@pytest.mark.parametrize(
    "passed",
    [
        pytest.param(clauses.known_owner(RULES, ROM), id="known-owner"),
        pytest.param(clauses.known_owner(RULES, SLACK), id="known-toolstack"),
        pytest.param(clauses.not_fixed(ROM), id="not-fixed"),
        pytest.param(clauses.not_fixed(("toolstack", "acpi")), id="not-fixed-toolstack"),
        pytest.param(clauses.not_required(ROM), id="not-required"),
        pytest.param(clauses.known_component(record_of(rom=4), ROM), id="known-component"),
        pytest.param(clauses.not_below_zero(ROM, kib(256), -256), id="down-to-zero"),
        pytest.param(clauses.in_range(END_KIB - 1), id="in-range"),
        pytest.param(below_cap(1000, 1024), id="at-cap"),
        pytest.param(below_cap(4096, 4096), id="not-grown-above-cap"),
        pytest.param(below_cap(4096, 2048), id="shrunk-above-cap"),
        pytest.param(below_cap(0, 4096, cap="introspection"), id="no-cap"),
        pytest.param(clauses.own_domain(Bond(7, UUID), 7, UUID), id="own-domain"),
        pytest.param(clauses.sum_in_range(record_of(END_KIB - 1025)), id="sum-in-range"),
        pytest.param(clauses.required_present({MAX_MEM: kib(0)}), id="required-present"),
        pytest.param(clauses.few_enough(Rules(max_components=2), record_of()), id="few-enough"),
        pytest.param(clauses.not_below_target(RULES, kib(8), kib(8)), id="at-target"),
        pytest.param(clauses.not_below_target(RULES, kib(8), None), id="no-target"),
        pytest.param(clauses.not_below_target(FREE, kib(8), kib(9)), id="no-floor"),
        pytest.param(clauses.max_mem_not_below_dom0_floor(RULES, kib(131072)), id="at-floor"),
        pytest.param(clauses.not_below_videoram(kib(8), kib(8)), id="at-videoram"),
        pytest.param(clauses.not_above_static_max(kib(8), kib(8)), id="at-static-max"),
    ],
)
def test_passes(passed: Refusal | None) -> None:
    """At the very edge a clause lets pass."""
    assert passed is None


@pytest.mark.parametrize(
    ("refusal", "code", "numbers"),
    [
        (clauses.known_owner(RULES, ("bios", "rom")), "unknown-owner", {"owner": "bios"}),
        (
            below_cap(1024, 1025),
            "above-owner-cap",
            {"owner": "device-model", "held_kib": 1024, "wanted_kib": 1025, "cap_kib": 1024},
        ),
        (
            clauses.own_domain(Bond(7, UUID), 8, UUID),
            "not-your-domain",
            {"domid": 8, "own_domid": 7},
        ),
        (
            clauses.own_domain(Bond(7, UUID), 7, OTHER),
            "not-your-domain",
            {"domid": 7, "own_domid": 7},
        ),
        (
            clauses.not_fixed(SLACK),
            "component-fixed",
            {"owner": "toolstack", "name": "slack"},
        ),
        (
            clauses.not_required(MAX_MEM),
            "component-required",
            {"owner": "operator", "name": "max-mem"},
        ),
        (
            clauses.known_component(record_of(), ROM),
            "unknown-component",
            {"owner": "device-model", "name": "rom"},
        ),
        (
            clauses.not_below_zero(ROM, kib(256), -257),
            "component-below-zero",
            {"owner": "device-model", "name": "rom", "amount_kib": 256, "by_kib": -257},
        ),
        (
            clauses.in_range(END_KIB),
            "limit-out-of-range",
            {"limit_kib": END_KIB, "below_kib": END_KIB},
        ),
        (
            clauses.sum_in_range(record_of(END_KIB - 1024)),
            "limit-out-of-range",
            {"limit_kib": END_KIB, "below_kib": END_KIB},
        ),
        (
            clauses.required_present({ROM: kib(4)}),
            "component-required",
            {"owner": "operator", "name": "max-mem"},
        ),
        (
            clauses.few_enough(Rules(max_components=2), record_of(rom=4)),
            "too-many-components",
            {"components": 3, "at_most": 2},
        ),
        (
            clauses.not_below_target(RULES, kib(65532), kib(65536)),
            "limit-below-target",
            {"max_mem_kib": 65532, "target_kib": 65536, "short_by_kib": 4},
        ),
        (
            clauses.max_mem_not_below_dom0_floor(RULES, kib(131071)),
            "limit-below-dom0-floor",
            {"max_mem_kib": 131071, "floor_kib": 131072},
        ),
        (
            clauses.target_not_below_dom0_floor(RULES, kib(0)),
            "target-below-dom0-floor",
            {"target_kib": 0, "floor_kib": 131072},
        ),
        (
            clauses.not_below_videoram(kib(8191), kib(8192)),
            "target-below-videoram",
            {"target_kib": 8191, "videoram_kib": 8192},
        ),
        (clauses.static_max_unknown(), "static-max-unknown", {}),
        (
            clauses.not_above_static_max(kib(65540), kib(65536)),
            "target-above-static-max",
            {"target_kib": 65540, "static_max_kib": 65536, "over_by_kib": 4},
        ),
        (clauses.target_unknown(), "target-unknown", {}),
        (clauses.revision_unknown(9), "unknown-revision", {"revision": 9}),
        (clauses.revision_stale(5, 4), "stale-revision", {"revision": 5, "if_match": 4}),
        (clauses.key_reused(), "idempotency-key-reused", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_refuses(refusal: Refusal | None, code: str, numbers: dict[str, int | str]) -> None:
    """One past the edge a clause refuses, with its code and numbers."""
    seen = refusal and Refusal(refusal.code, refusal.detail, {})
    assert refused(seen) == (code, {})
    assert refusal is not None
    assert refusal.numbers == numbers


def test_a_refusal_says_its_numbers() -> None:
    """The sentence of a limit below the target names all three numbers and the way out."""
    refusal = clauses.not_below_target(RULES, kib(65532), kib(65536))
    assert refusal is not None
    assert refusal.detail == (
        "cannot set max-mem to 65532 KiB: the balloon target is 65536 KiB, 4 KiB more"
        " (lower the target first, or force)"
    )


def test_rules_by_default() -> None:
    """By default: xl's floor, libxl's slack and dom0 minimum, three owners, 64 components."""
    assert (RULES.floor, RULES.slack.kib, RULES.dom0_floor.kib) == ("target", 1024, 131072)
    assert RULES.owners == {"operator", "toolstack", "device-model"}
    components = {("operator", str(n)): Component(kib(1), 1) for n in range(65)}
    assert refused(clauses.few_enough(RULES, Record(UUID, 1, components)))[1]["at_most"] == 64
