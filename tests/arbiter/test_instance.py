"""An instance changes only by what happened to it, and only as the tables allow."""

import ast
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

import maxmemd
from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.instance_rows import row_of
from maxmemd.policy.entries import BuildState
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.orders import EffectOutcome
from maxmemd.policy.states import (
    BUILD_TRANSITIONS,
    PUSH_TRANSITIONS,
    BuildPhase,
    EffectState,
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


def test_what_is_seen_of_an_instance_is_kept_with_its_time() -> None:
    """What those who look at all domains were shown is forgotten with the next push."""
    instance, nodes = instance_in(PushState.PENDING), StoreFacts(name="web")
    instance.on_looked_at(3.0)
    assert (instance.known, instance.known_at_s) == (None, 3.0)
    instance.on_nodes_read(4.0, nodes)
    assert (instance.known, instance.known_at_s, instance.name) == (nodes, 4.0, "web")
    instance.on_nodes_shown(5.0, nodes)
    assert instance.nodes == (5.0, nodes)
    instance.on_push_begun(512)
    assert (instance.nodes, instance.wanted_pages) == (None, 512)


def test_what_a_push_wrote_is_known_and_the_rest_is_not() -> None:
    """A node that could not be written is as it was seen, and is still to be written."""
    instance = instance_in(PushState.PENDING)
    instance.on_nodes_read(1.0, StoreFacts(name="web", target=Memory(kib=1)))
    target, static_max = Memory(kib=8), Memory(kib=16)
    instance.on_effects_decided(Effects(static_max=static_max, target=target))
    written = EffectOutcome("static-max", EffectState.WRITTEN, static_max)
    failed = EffectOutcome("target", EffectState.FAILED, target, 5, "cannot write it")
    instance.on_effects_pushed((written, failed))
    assert instance.known == StoreFacts("web", target=Memory(kib=1), static_max=static_max)
    assert instance.effects == Effects(target=target)


def test_polls_that_see_a_guest_shrink_no_further_are_counted() -> None:
    """From the first that sees it as large as before; a smaller one begins again."""
    instance = instance_in(PushState.PENDING)
    counts = []
    for tot_pages in (600, 600, 601, 590, 590, 512, 513):
        instance.on_in_force(FACT._replace(tot_pages=tot_pages), 1)
        counts.append(instance.still_polls)
    assert counts == [0, 1, 2, 0, 1, 0, 1]


def test_a_newcomer_is_one_until_limits_by_name_are_decided() -> None:
    """Its build has that too, so that a restart knows it."""
    instance = instance_in(PushState.PENDING, BuildPhase.FOLLOWING)
    instance.on_newcomer_seen()
    assert (instance.is_newcomer, instance.build.is_newcomer) == (True, True)
    instance.on_takeover_decided()
    assert (instance.is_newcomer, instance.build.is_newcomer) == (False, False)


def test_what_an_announced_build_needs_is_kept_until_it_has_run() -> None:
    """In every phase before, whatever is observed of the build."""
    instance = instance_in(PushState.PENDING, BuildPhase.UNDECIDED)
    instance.on_build_decided(BuildState(BuildPhase.ANNOUNCED, build_pages=768))
    assert (instance.build_phase, instance.build_pages) == (BuildPhase.ANNOUNCED, 768)
    instance.on_build_observed(BuildPhase.ANNOUNCED, building=True)
    assert (instance.build_pages, instance.build.build_pages) == (768, 768)
    instance.on_build_observed(BuildPhase.SETTLED, building=False)
    assert instance.build_pages is None


def test_a_reread_row_has_the_effects_and_the_pages_of_its_build() -> None:
    """The commit kept them after all; one that is settled needs no pages for a build any more."""
    announced = BuildState(BuildPhase.ANNOUNCED, build_pages=768)
    owed = Effects(target=Memory(kib=8))
    row = row_of(instance_in(PushState.PENDING), effects=owed, build=announced)
    early = instance_in(PushState.PENDING, BuildPhase.UNDECIDED)
    late = instance_in(PushState.PENDING, BuildPhase.SETTLED)
    for instance, pages in ((early, 768), (late, None)):
        instance.on_ledger_reread(row)
        assert (instance.effects, instance.build_pages) == (owed, pages)


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
