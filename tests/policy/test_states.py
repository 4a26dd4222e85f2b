"""The tables of legal transitions: the docstring and the data are one, and nothing is forgotten."""

from collections.abc import Mapping
from enum import StrEnum

import pytest

from maxmemd.policy import states
from maxmemd.policy.states import (
    BUILD_TRANSITIONS,
    PUSH_TRANSITIONS,
    BuildPhase,
    IllegalTransition,
    PushState,
    ends_guessing,
)


def table_of(kind: type[StrEnum]) -> dict[StrEnum, set[StrEnum]]:
    """Return the table of the module's docstring whose columns are the members of an enum."""
    lines = (states.__doc__ or "").splitlines()
    names = [member.value for member in kind]
    [head] = [number for number, line in enumerate(lines) if line.split()[3:] == names]
    columns = {name: lines[head].index(f" {name}") for name in names}
    found: dict[StrEnum, set[StrEnum]] = {}
    for line in lines[head + 1 : head + 1 + len(names)]:
        row, marks = line.split()[0], [at for at, mark in enumerate(line) if mark == "x"]
        cells = [at for at in marks if at >= min(columns.values())]
        found[kind(row)] = {kind(max(columns, key=lambda n: _near(columns[n], at))) for at in cells}
    return found


def _near(column: int, at: int) -> int:
    """Return how near a mark is to a column that begins before it."""
    return column if column <= at else -1


@pytest.mark.parametrize(
    ("kind", "table"), [(PushState, PUSH_TRANSITIONS), (BuildPhase, BUILD_TRANSITIONS)]
)
def test_the_docstring_has_the_table_that_is_checked(
    kind: type[StrEnum], table: Mapping[StrEnum, frozenset[StrEnum]]
) -> None:
    """A reader of the docstring and the code that checks read the same."""
    assert table_of(kind) == {state: set(after) for state, after in table.items()}


@pytest.mark.parametrize(
    ("kind", "table"), [(PushState, PUSH_TRANSITIONS), (BuildPhase, BUILD_TRANSITIONS)]
)
def test_every_state_has_a_row_and_staying_is_no_transition(
    kind: type[StrEnum], table: Mapping[StrEnum, frozenset[StrEnum]]
) -> None:
    """No state is left out, and none follows itself."""
    assert list(table) == list(kind)
    assert not any(state in after for state, after in table.items())


def test_an_illegal_transition_names_both_states_and_the_domain() -> None:
    """What is raised says whose state it is, from where and to where."""
    error = IllegalTransition("51a7", PushState.GONE, PushState.FAILED)
    assert str(error) == "cannot go from gone to failed: 51a7"


@pytest.mark.parametrize("phase", BuildPhase)
def test_a_decision_ends_guessing_for_the_named_and_for_all_that_the_record_follows(
    phase: BuildPhase,
) -> None:
    """Another instance of the UUID that is undecided is still to be understood."""
    assert ends_guessing(phase, is_named=True)
    assert ends_guessing(phase, is_named=False) == (phase is BuildPhase.FOLLOWING)
