"""What goes on by name, and for whom."""

import pytest

from maxmemd.policy.by_name import decided_amounts, is_opted_in, taken_over
from maxmemd.policy.components import MAX_MEM, OBSERVABLE, POPULATED, SLACK, Component, Record
from maxmemd.policy.facts import StoreFacts
from maxmemd.units import Memory

EXTRA = ("toolstack", "extra")


def kib(amount: int) -> Memory:
    """Return that many KiB."""
    return Memory(kib=amount)


HALTED = Record(
    "old", 5,
    {
        MAX_MEM: Component(kib(2**32), 2), SLACK: Component(kib(1024), 3),
        POPULATED: Component(kib(4), 4), EXTRA: Component(kib(3), 5),
    },
    kib(2**32), observed=frozenset({SLACK}),
)  # fmt: skip
NEW = Record(
    "new", 1, {MAX_MEM: Component(kib(1000), 1), SLACK: Component(kib(1024), 1)},
    kib(2000), observed=OBSERVABLE,
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "patterns", "opted"),
    [
        ("web", (), False),
        ("web", ("web",), True),
        ("web", ("WEB",), False),
        ("web", ("we",), False),
        ("ci-7", ("ci-*",), True),
        ("ci-", ("ci-*",), True),
        ("ci7", ("ci-*",), False),
        ("a[1]", ("a[1]",), True),
        ("a1", ("a[1]",), True),
        ("a b/c", ("a *",), True),
        ("web\n", ("web",), False),
    ],
)
def test_who_is_opted_in(name: str, patterns: tuple[str, ...], opted: bool) -> None:
    """A name itself, though it looks like a pattern, or one that fits; case counts."""
    assert is_opted_in(name, patterns) is opted


def test_what_goes_on() -> None:
    """What a client decided: not slack, nor what a device model asks for each time."""
    assert decided_amounts(HALTED) == {MAX_MEM: kib(2**32), EXTRA: kib(3)}
    assert decided_amounts(NEW) == {}


def test_what_was_decided_of_the_new_one_stays() -> None:
    """Only the rest is taken over."""
    own = NEW.with_amounts({MAX_MEM: kib(5)})
    taken = taken_over(own, HALTED, StoreFacts())
    assert taken is not None
    assert (taken.amount(MAX_MEM), taken.amount(EXTRA)) == (kib(5), kib(3))
    assert taken.static_max == kib(2000)
    assert taken_over(own.with_amounts({EXTRA: kib(0)}), HALTED, StoreFacts()) is None
    assert taken_over(NEW, NEW, StoreFacts()) is None


@pytest.mark.parametrize(
    ("target", "videoram", "max_mem", "static_max"),
    [
        (None, 0, 2**32, 2**32),
        (0, 0, 2**32, 2**32),
        (2**32, 0, 2**32, 2**32),
        (2**32, 3, 2**32 + 3, 2**32 + 3),
        (2**52 - 1, 0, 2**52 - 1, 2**52 - 1),
    ],
)
def test_max_mem_covers_the_build(
    target: int | None, videoram: int, max_mem: int, static_max: int
) -> None:
    """Never below what the guest was built with, and static-max never below max-mem."""
    store = StoreFacts("web", None if target is None else kib(target), None, kib(videoram))
    taken = taken_over(NEW, HALTED, store)
    assert taken is not None
    assert (taken.amount(MAX_MEM), taken.static_max) == (kib(max_mem), kib(static_max))
