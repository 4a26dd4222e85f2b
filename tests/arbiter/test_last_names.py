"""Domains are found by their last names, as many as there are."""

from hypothesis import given
from hypothesis import strategies as st

from maxmemd.arbiter.last_names import LastNames
from maxmemd.policy.reference import printable

UUIDS = st.sampled_from(["a", "b", "c", "d"])
NAMES = st.sampled_from(["", "web", "db", "a\x1bb", "a?b"])
STEPS = st.lists(st.tuples(UUIDS, st.none() | NAMES), max_size=20)


@given(STEPS, NAMES)
def test_a_name_means_those_that_have_it_last(
    steps: list[tuple[str, str | None]], text: str
) -> None:
    """Whatever they were called and forgotten before; a name that was taken over means none."""
    names, expected = LastNames({}), dict[str, str]()
    for uuid, name in steps:
        if name is None:
            names.forget(uuid)
            expected.pop(uuid, None)
        else:
            names.update({uuid: name})
            expected[uuid] = printable(name)
    for uuid in "abcd":
        assert names.get(uuid) == expected.get(uuid)
        assert (uuid in names) == (uuid in expected)
    means = {uuid for uuid, name in expected.items() if text and name == printable(text)}
    assert set(names.called(text)) == means
    assert set(names._called) == set(expected.values()), "a name that none has is not kept"


def test_names_that_the_ledger_has_are_shown_as_any() -> None:
    """A control character that an earlier version kept goes no further."""
    assert LastNames({"a": "we\x1bb"})["a"] == "we?b"
