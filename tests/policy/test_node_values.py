"""Whatever stands in a node, it is an amount or it is named; reading it never fails."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxmemd.policy.facts import NO_PATH, StoreFacts, UnreadableNode
from maxmemd.policy.node_values import SHOWN_BYTES, amount_of, facts_of, shown, vm_uuid
from maxmemd.units import END_KIB, Memory

UUID = "b5b5b1f6-9a1e-4c34-8b7b-6d4f6f0d5f01"
VALUE = st.one_of(
    st.none(),
    st.binary(max_size=60),
    st.integers(-2, 2**70).map(lambda number: str(number).encode()),
    st.integers(4000, 6000).map(lambda digits: b"9" * digits),
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"", ""),
        (b"abc", "abc"),
        (b"-1", "-1"),
        (b"18446744073709551616", "18446744073709551616"),
        (b"4503599627370496", "4503599627370496"),
        (b"9" * 5000, "9" * SHOWN_BYTES + "... (5000 bytes)"),
        (b"\x1b[31m\n", "\\x1b[31m\\n"),
        (b"\xff\x00", "\\xff\\x00"),
        (b"it's", "it's"),
    ],
)
def test_what_is_no_amount_is_named_with_its_value(value: bytes, text: str) -> None:
    """It is shown escaped and shortened."""
    seen = facts_of(has_path=True, name="web", target=value, static_max=None, videoram=None)
    assert seen.target is None
    assert seen.unreadable == (UnreadableNode("memory/target", text),)
    assert seen.unreadable_at("memory/target") == seen.unreadable[0]
    assert seen.unreadable_at("memory/static-max") is None
    assert str(seen.unreadable[0]) == f"memory/target in xenstore is '{text}', which is no amount"


@given(VALUE, VALUE, VALUE)
def test_reading_never_fails(
    target: bytes | None, static_max: bytes | None, videoram: bytes | None
) -> None:
    """Each node is absent, an amount, or unreadable; and what is shown is one printable line."""
    seen = facts_of(
        has_path=True, name=None, target=target, static_max=static_max, videoram=videoram
    )
    amounts = {"memory/target": seen.target, "memory/static-max": seen.static_max}
    for (node, amount), value in zip(amounts.items(), (target, static_max), strict=True):
        unreadable = seen.unreadable_at(node)
        assert (value is None, amount is not None, unreadable is not None).count(True) == 1
    for each in seen.unreadable:
        assert each.value.isprintable()
        assert len(each.value) < 4 * SHOWN_BYTES + 20


@pytest.mark.parametrize("value", [None, b"-1", b"-8192\n"])
def test_no_video_ram_is_no_garbage(value: bytes | None) -> None:
    """dom0less writes -1 where there is none."""
    seen = facts_of(has_path=True, name=None, target=None, static_max=None, videoram=value)
    assert seen == StoreFacts()


def test_a_domain_that_xenstore_does_not_know() -> None:
    """It has no path, and nothing of it is unreadable."""
    seen = facts_of(has_path=False, name=None, target=None, static_max=None, videoram=None)
    assert seen is NO_PATH


def test_amounts() -> None:
    """Blanks around digits are left out; the largest amount is one KiB below the end."""
    assert amount_of(b" 12\n\0") == Memory(kib=12)
    assert amount_of(str(END_KIB - 1).encode()) == Memory(kib=END_KIB - 1)
    assert amount_of(None) is None
    assert shown(b"x" * SHOWN_BYTES) == "x" * SHOWN_BYTES


@pytest.mark.parametrize(
    ("vm", "uuid"),
    [
        (f"/vm/{UUID}", UUID),
        (f"vm/{UUID}", UUID),
        (f"/vm/{UUID.upper()}-1", UUID),
        ("/vm/", None),
        ("", None),
        (f"x/vm/{UUID}", None),
        (None, None),
    ],
)
def test_which_domain_a_vm_node_names(vm: str | None, uuid: str | None) -> None:
    """Libxl's form, dom0less's, and what some toolstacks append; anything else names nobody."""
    assert vm_uuid(None if vm is None else vm.encode()) == uuid
