"""Records: the sum of their components, their revisions, and what the ledger keeps of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxmemd.policy.codec import record_from_state, state_to_json
from maxmemd.policy.components import MAX_MEM, Component, Record
from maxmemd.units import END_KIB
from tests.policy.values import KEYS, ROM, UUID, VGA, amounts, kib, record_of, records


@given(records())
def test_the_limit_is_the_sum(record: Record) -> None:
    """A domain's limit is the sum of its components, and nothing else."""
    assert record.limit_kib == sum(amounts(record).values())
    assert record.limit.kib == record.limit_kib


@given(records())
def test_state_round_trip(record: Record) -> None:
    """What the ledger keeps of a record is all of it."""
    assert record_from_state(record.uuid, record.revision, state_to_json(record)) == record


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"components": []},
        {"components": [["a", "b", -1, 1]], "static_max_kib": None},
        {"components": 5},
    ],
    ids=["empty", "no-static-max", "negative", "no-list"],
)
def test_a_state_that_is_none(state: dict[str, object]) -> None:
    """What is not a record's state raises one of the errors that the ledger expects."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        record_from_state(UUID, 1, state)


def test_an_unchanged_component_keeps_its_revision() -> None:
    """Only what changes gets the new revision; what is named again with its amount does not."""
    after = record_of(64, rom=8).with_amounts({MAX_MEM: kib(64), ROM: kib(12)})
    assert after.revision == 4
    assert (after.components[MAX_MEM].revision, after.components[ROM]) == (1, Component(kib(12), 4))


def test_with_amounts_adds_and_removes() -> None:
    """None removes a component, also one that is not there; others stay."""
    before = record_of(64, static_max=128, rom=8)
    after = before.with_amounts({ROM: None, VGA: kib(4), ("x", "y"): None})
    assert amounts(after) == {**amounts(record_of(64)), VGA: 4}
    assert after.static_max == kib(128)
    assert amounts(before)[ROM] == 8


def test_static_max_is_replaced() -> None:
    """A static-max that is given replaces the one that was recorded."""
    assert record_of(64, static_max=128).with_amounts({}, static_max=kib(0)).static_max == kib(0)


@given(records(), st.dictionaries(KEYS, st.integers(0, 99), max_size=5))
def test_with_exactly_leaves_nothing_else(record: Record, wanted: dict) -> None:
    """After with_exactly the components and static-max are those, one revision on."""
    after = record.with_exactly({key: kib(n) for key, n in wanted.items()}, static_max=None)
    assert (amounts(after), after.static_max) == (wanted, None)
    assert after.revision == record.revision + 1


def test_a_missing_component_has_no_amount() -> None:
    """None is not 0: the record says whether it has a component."""
    assert record_of(64).amount(ROM) is None
    assert record_of(64, rom=0).amount(ROM) == kib(0)


def test_a_sum_may_pass_what_a_memory_holds() -> None:
    """The sum can be looked at before it is checked; as a limit it is a ValueError."""
    record = record_of(END_KIB - 1)
    assert record.limit_kib == END_KIB + 1023
    with pytest.raises(ValueError, match="cannot represent"):
        _ = record.limit
