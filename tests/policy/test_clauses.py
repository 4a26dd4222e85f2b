"""Each clause alone: what it lets pass, what it refuses, and the numbers that it gives."""

from collections.abc import Callable

import pytest

from maxmemd.policy import clauses
from maxmemd.policy.components import MAX_MEM, SLACK, Component, Record
from maxmemd.policy.gone import GoneRules
from maxmemd.policy.rules import Rules
from maxmemd.policy.verdicts import Refusal
from maxmemd.units import END_KIB
from tests.policy.values import ROM, RULES, UUID, Refuses, each_of, kib, record_of, refused, xen_of


def below_cap(before: int, after: int, cap: str = "device-model") -> Refusal | None:
    """Return what the clause says of a step from one amount to another; the cap is 1 MiB."""
    rules = Rules(caps={cap: kib(1024)})
    held, wanted = record_of(rom=before, vga=0), record_of(rom=after - 10, vga=10)
    return clauses.below_cap(rules, held, wanted, "device-model")


PASSES: dict[str, Callable[[], Refusal | None]] = {
    "known-owner": lambda: clauses.known_owner(RULES, ROM),
    "known-toolstack": lambda: clauses.known_owner(RULES, SLACK),
    "not-fixed": lambda: clauses.not_fixed(ROM),
    "not-fixed-toolstack": lambda: clauses.not_fixed(("toolstack", "acpi")),
    "not-required": lambda: clauses.not_required(ROM),
    "known-component": lambda: clauses.known_component(record_of(rom=4), ROM),
    "down-to-zero": lambda: clauses.not_below_zero(ROM, kib(256), -256),
    "in-range": lambda: clauses.in_range(END_KIB - 1),
    "at-cap": lambda: below_cap(1000, 1024),
    "not-grown-above-cap": lambda: below_cap(4096, 4096),
    "shrunk-above-cap": lambda: below_cap(4096, 2048),
    "no-cap": lambda: below_cap(0, 4096, cap="introspection"),
    "sum-in-range": lambda: clauses.sum_in_range(record_of(END_KIB - 1025)),
    "required-present": lambda: clauses.required_present({MAX_MEM: kib(0)}),
    "few-enough": lambda: clauses.few_enough(Rules(max_components=2), record_of()),
    "not-started": lambda: clauses.not_started(xen_of()._replace(paused=True, cpu_time_ns=0)),
}
"""What each clause still lets pass, at its very edge."""


REFUSES = [
    Refuses(
        lambda: clauses.known_owner(RULES, ("bios", "rom")),
        "unknown-owner",
        "cannot keep a component for bios: the owners are device-model, operator, toolstack"
        " (add others to owners in the configuration)",
        {"owner": "bios"},
    ),
    Refuses(
        lambda: below_cap(1024, 1025),
        "above-owner-cap",
        "cannot give device-model 1025 KiB: its components of one domain have at most 1024 KiB"
        " together, and it has 1024 KiB (the cap is in caps in the configuration)",
        {"owner": "device-model", "held_kib": 1024, "wanted_kib": 1025, "cap_kib": 1024},
    ),
    Refuses(
        lambda: clauses.not_fixed(SLACK),
        "component-fixed",
        "cannot change toolstack/slack: it is set for all domains by slack in the configuration",
        {"owner": "toolstack", "name": "slack"},
    ),
    Refuses(
        lambda: clauses.not_required(MAX_MEM),
        "component-required",
        "cannot remove operator/max-mem: set it to what the guest may use instead",
        {"owner": "operator", "name": "max-mem"},
    ),
    Refuses(
        lambda: clauses.known_component(record_of(), ROM),
        "unknown-component",
        "cannot remove device-model/rom: the domain has no such component",
        {"owner": "device-model", "name": "rom"},
    ),
    Refuses(
        lambda: clauses.not_below_zero(ROM, kib(256), -257),
        "component-below-zero",
        "cannot take 257 KiB from device-model/rom: it is 256 KiB",
        {"owner": "device-model", "name": "rom", "amount_kib": 256, "by_kib": -257},
    ),
    Refuses(
        lambda: clauses.in_range(END_KIB),
        "limit-out-of-range",
        f"cannot keep a limit of {END_KIB} KiB: limits are below {END_KIB} KiB",
        {"limit_kib": END_KIB, "below_kib": END_KIB},
    ),
    Refuses(
        lambda: clauses.sum_in_range(record_of(END_KIB - 1024)),
        "limit-out-of-range",
        f"cannot keep a limit of {END_KIB} KiB: limits are below {END_KIB} KiB",
        {"limit_kib": END_KIB, "below_kib": END_KIB},
    ),
    Refuses(
        lambda: clauses.required_present({ROM: kib(4)}),
        "component-required",
        "cannot import a record without operator/max-mem: add what the guest may use",
        {"owner": "operator", "name": "max-mem"},
    ),
    Refuses(
        lambda: clauses.few_enough(Rules(max_components=2), record_of(rom=4)),
        "too-many-components",
        "cannot keep 3 components: a domain has at most 2",
        {"components": 3, "at_most": 2},
    ),
    Refuses(
        lambda: clauses.revision_pruned(2),
        "revision-pruned",
        "cannot roll back to revision 2: the history keeps it no more, for it is older than"
        " history_keep_days, or than the newest history_keep_entries (set what you want)",
        {"revision": 2},
    ),
    Refuses(
        lambda: clauses.room_ahead(GoneRules(1.0, 9, 3), "xapi (uid 7)", 3, 8),
        "too-many-records",
        "cannot keep another record of a domain that is not here: there are 3 of xapi (uid 7),"
        " at most 3 are kept (create those domains first, or raise keep_gone_per_client)",
        {"records": 3, "at_most": 3},
    ),
    Refuses(
        lambda: clauses.room_ahead(GoneRules(1.0, 9, 3), "xapi (uid 7)", 2, 9),
        "too-many-records",
        "cannot keep another record of a domain that is not here: there are 9 of all clients,"
        " at most 9 are kept (create those domains first, or raise keep_gone_records)",
        {"records": 9, "at_most": 9},
    ),
    Refuses(
        lambda: clauses.not_started(xen_of(7)),
        "domain-started",
        "cannot build domain 7: it was started already (set its limit instead)",
        {"domid": 7},
    ),
    Refuses(
        lambda: clauses.revision_unknown(9),
        "unknown-revision",
        "cannot roll back to revision 9: the history has no such revision",
        {"revision": 9},
    ),
    Refuses(
        lambda: clauses.revision_stale(5, 4),
        "stale-revision",
        "cannot decide on revision 4: the record is at revision 5 by now",
        {"revision": 5, "if_match": 4},
    ),
    Refuses(
        clauses.key_reused,
        "idempotency-key-reused",
        "cannot use this Idempotency-Key: it was used for another wish (take a new one)",
        {},
    ),
]
"""Each refusal, as clients see it."""


@pytest.mark.parametrize("ask", PASSES.values(), ids=PASSES)
def test_passes(ask: Callable[[], Refusal | None]) -> None:
    """At the very edge a clause lets pass."""
    assert ask() is None


@each_of(REFUSES)
def test_refuses(case: Refuses) -> None:
    """One past the edge a clause refuses, with its code, its sentence and its numbers."""
    case.check()


def test_rules_by_default() -> None:
    """By default: xl's floor, libxl's slack and dom0 minimum, three owners, 64 components."""
    assert (RULES.floor, RULES.slack.kib, RULES.dom0_floor.kib) == ("target", 1024, 131072)
    assert RULES.owners == {"operator", "toolstack", "device-model"}
    components = {("operator", str(n)): Component(kib(1), 1) for n in range(65)}
    assert refused(clauses.few_enough(RULES, Record(UUID, 1, components)))[1]["at_most"] == 64
