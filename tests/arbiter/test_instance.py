"""An instance changes only by what happened to it, and only as the tables allow."""

import ast
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

import maxmemd
from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.instance_rows import instance_of, row_of
from maxmemd.policy.facts import XenFacts
from maxmemd.policy.states import (
    BUILD_TRANSITIONS,
    PUSH_TRANSITIONS,
    BuildPhase,
    IllegalTransition,
    PushState,
)
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from maxmemd.units import Memory

UUID = "51a70000-0000-4000-8000-00000000000a"
FACT = XenFacts(7, UUID, 256, 512, cpu_time_ns=1)
OVER = FACT._replace(tot_pages=513)

PUSH_EVENTS: dict[str, tuple[Callable[[Instance], None], PushState]] = {
    "in-force": (lambda one: one.on_in_force(FACT, 1), PushState.APPLIED),
    "over": (lambda one: one.on_in_force(OVER, 1), PushState.OVER_LIMIT),
    "adopted": (lambda one: one.on_adopted(FACT, 1), PushState.APPLIED),
    "failed": (lambda one: one.on_push_failed(5, "cannot", 0.0), PushState.FAILED),
    "mismatched": (lambda one: one.on_push_mismatched(4, 0.0), PushState.MISMATCHED),
    "gone": (lambda one: one.on_gone(), PushState.GONE),
}


def instance_in(state: PushState, phase: BuildPhase = BuildPhase.SETTLED) -> Instance:
    """Return an instance in these states."""
    return Instance(UUID, 7, 1, "boot-1", 0, push_state=state, build_phase=phase)


@pytest.mark.parametrize("event", PUSH_EVENTS)
@pytest.mark.parametrize("before", PushState)
def test_a_push_event_leads_where_the_table_allows_or_raises(before: PushState, event: str) -> None:
    """Each event has one state that it leads to; where that cannot follow it is a fault."""
    happens, after = PUSH_EVENTS[event]
    instance = instance_in(before)
    if after is before or after in PUSH_TRANSITIONS[before]:
        happens(instance)
        assert instance.push_state is after
    else:
        with pytest.raises(IllegalTransition, match=f"from {before} to {after}"):
            happens(instance)
        assert instance.push_state is before


@pytest.mark.parametrize("event", ["in-force", "failed", "mismatched"])
def test_a_fault_of_a_push_names_the_domain(event: str) -> None:
    """Nothing happens to an instance that is gone."""
    happens, after = PUSH_EVENTS[event]
    with pytest.raises(IllegalTransition) as fault:
        happens(instance_in(PushState.GONE))
    assert str(fault.value) == f"cannot go from gone to {after}: {UUID}"


def test_a_fault_of_a_build_names_the_domain() -> None:
    """A build that ran does not begin again."""
    with pytest.raises(IllegalTransition) as fault:
        instance_in(PushState.PENDING).on_build_observed(BuildPhase.FOLLOWING, building=True)
    assert str(fault.value) == f"cannot go from settled to following: {UUID}"


def test_what_is_adopted_is_what_was_wanted() -> None:
    """No poll takes it for drift, nor a restart for a revision that was never in force."""
    instance = instance_in(PushState.PENDING)
    instance.on_adopted(FACT, 3)
    assert (instance.wanted_pages, instance.settled_revision) == (FACT.max_pages, 3)


@pytest.mark.parametrize("phase", BuildPhase)
def test_a_row_is_all_of_an_instance_that_a_restart_needs(phase: BuildPhase) -> None:
    """What the ledger held open is taken up as it was, and written as the same row again."""
    instance = Instance(
        UUID, 7, 3, "boot-1", 41, build_phase=phase, push_state=PushState.FAILED,
        settled_revision=5, effects=Effects(target=Memory(kib=4)), drift_pages=0,
        wanted_pages=512, toolstack_pages=640,
    )  # fmt: skip
    row = row_of(instance)
    again = instance_of(row)
    assert row_of(again) == row
    assert (again.incarnation, again.began_ns, again.settled_revision) == (3, 41, 5)
    is_settled = phase is BuildPhase.SETTLED
    assert again.building is not is_settled
    assert again.wanted_pages == (0 if is_settled else 512)
    assert row_of(again, ended_ns=42).ended_ns == 42


def test_what_a_toolstack_wrote_is_shown_in_place_of_our_push() -> None:
    """Only where Xen still holds what we pushed, and only where we pushed over something."""
    instance = Instance(UUID, 7, 1, "boot-1", 0, wanted_pages=512, toolstack_pages=640)
    assert instance.as_built(FACT) == FACT._replace(max_pages=640)
    assert instance.as_built(FACT._replace(max_pages=700)) == FACT._replace(max_pages=700)
    assert instance_in(PushState.PENDING).as_built(FACT._replace(max_pages=0)).max_pages == 0


@pytest.mark.parametrize("before", PushState)
def test_only_what_was_in_force_is_pending_again(before: PushState) -> None:
    """Drift and a push that is put off end being in force; a failure stays named."""
    in_force = before in (PushState.APPLIED, PushState.OVER_LIMIT)
    for happens in (Instance.on_put_off, lambda one: one.on_drift(9, "cannot keep")):
        instance = instance_in(before)
        happens(instance)
        assert instance.push_state is (PushState.PENDING if in_force else before)


@pytest.mark.parametrize("after", BuildPhase)
@pytest.mark.parametrize("before", BuildPhase)
def test_a_build_never_goes_back(before: BuildPhase, after: BuildPhase) -> None:
    """What is observed of a build leads on, or is a fault."""
    instance = instance_in(PushState.PENDING, before)
    if after is before or after in BUILD_TRANSITIONS[before]:
        instance.on_build_observed(after, building=False)
        assert instance.build_phase is after
    else:
        with pytest.raises(IllegalTransition, match=f"from {before} to {after}"):
            instance.on_build_observed(after, building=False)


@pytest.mark.parametrize("building", [True, False])
@pytest.mark.parametrize("before", BuildPhase)
def test_a_decision_ends_all_guesses(before: BuildPhase, *, building: bool) -> None:
    """A limit that is decided, or a build that is announced, is never guessed about again."""
    instance = instance_in(PushState.PENDING, before)
    instance.building = building
    expected = instance.phase_once_decided
    instance.on_build_decided(instance.build_in(expected))
    assert instance.is_understood
    assert instance.build_phase is expected
    assert expected is (
        before if before in (BuildPhase.ANNOUNCED, BuildPhase.SETTLED)
        else BuildPhase.ANNOUNCED if building
        else BuildPhase.SETTLED
    )  # fmt: skip


def test_a_reread_row_never_takes_a_build_back() -> None:
    """What a failed commit kept counts, unless Xen has shown more since."""
    row = row_of(replace(instance_in(PushState.PENDING), build_phase=BuildPhase.ANNOUNCED))
    effects = Effects(target=Memory(kib=0))
    early = instance_in(PushState.PENDING, BuildPhase.UNDECIDED)
    late = instance_in(PushState.PENDING, BuildPhase.SETTLED)
    late.on_effects_decided(effects)
    for instance in (early, late):
        instance.on_ledger_reread(row)
        assert instance.effects is NO_EFFECTS
    assert (early.build_phase, late.build_phase) == (BuildPhase.ANNOUNCED, BuildPhase.SETTLED)


@pytest.mark.parametrize(
    ("seen", "kept"), [(None, None), (0, None), (300, None), (640, 640)],
    ids=["unknown", "nobodys", "ours", "theirs"],
)  # fmt: skip
def test_what_a_push_takes_the_place_of_is_kept_while_it_is_built(
    seen: int | None, kept: int | None
) -> None:
    """A maximum of the toolstack's is remembered; 0, and one that we wrote, are not its own."""
    instance = Instance(UUID, 7, 1, "boot-1", 0, building=True, wanted_pages=300, seen_pages=seen)
    instance.on_push_begun(512)
    assert (instance.toolstack_pages, instance.wanted_pages) == (kept, 512)


def test_only_instance_assigns_its_fields() -> None:
    """Nothing else in the product writes a field of an instance, whatever it calls it."""
    own = {one.name for one in fields(Instance)}
    wrong = []
    for path in sorted(Path(maxmemd.__file__).parent.joinpath("arbiter").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            for target in _assigned(node):
                is_self = isinstance(target.value, ast.Name) and target.value.id == "self"
                if target.attr in own and not is_self:
                    wrong.append(f"{path.name}:{target.lineno} {ast.unparse(target)}")
    assert wrong == []


def _assigned(node: ast.AST) -> list[ast.Attribute]:
    """Return the attributes that a statement assigns."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = list(node.targets)
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    inner = [each for target in targets for each in ast.walk(target)]
    return [
        one for one in inner if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store)
    ]
