"""Amounts: edges, arithmetic, and xl's size grammar."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxmemd.units import END_KIB, UNLIMITED, UNLIMITED_PAGES, Memory, TooLarge, kib_or_none

KIB = st.integers(0, END_KIB - 1)


@pytest.mark.parametrize(
    ("kib", "pages", "max_pages", "mib"),
    [
        (0, 0, 0, 0),
        (3, 0, 0, 0),
        (4, 1, 1, 0),
        (7, 1, 1, 0),
        (1023, 255, 255, 0),
        (1024, 256, 256, 1),
        (2**31, 2**29, 2**29, 2**21),
        (2**32, 2**30, 2**30, 2**22),
        (UNLIMITED.kib - 1, UNLIMITED_PAGES - 1, UNLIMITED_PAGES - 1, 2**24 - 1),
        (UNLIMITED.kib, UNLIMITED_PAGES, UNLIMITED_PAGES, 2**24 - 1),
        (UNLIMITED.kib + 4, UNLIMITED_PAGES + 1, UNLIMITED_PAGES, 2**24),
        (2**52 - 1, 2**50 - 1, UNLIMITED_PAGES, 2**42 - 1),
    ],
)
def test_edges(kib: int, pages: int, max_pages: int, mib: int) -> None:
    """Pages and MiB are rounded down; only what Xen keeps saturates (A1)."""
    amount = Memory(kib=kib)
    assert (amount.kib, amount.pages, amount.max_pages, amount.mib) == (kib, pages, max_pages, mib)


@pytest.mark.parametrize("kib", [-1, 2**52, 2**52 + 1, -(2**63)])
def test_out_of_range(kib: int) -> None:
    """There is no negative amount, and none from 2**52 KiB on."""
    with pytest.raises(ValueError, match=f"cannot represent {kib} KiB: 0 to 4503599627370495 KiB"):
        Memory(kib=kib)


@pytest.mark.parametrize("kib", [True, False, 4.5, "four", None])
def test_only_an_int_is_an_amount(kib: object) -> None:
    """Bools, floats and texts are no amounts."""
    with pytest.raises(TypeError, match="cannot take"):
        Memory(kib=kib)  # type: ignore[arg-type]


def test_an_amount_is_named() -> None:
    """A bare positional number is refused."""
    with pytest.raises(TypeError):
        Memory(4096)  # type: ignore[misc]


def test_constructors() -> None:
    """Pages are 4 KiB, a MiB is 1024 KiB, unlimited is 16 TiB less a page."""
    assert Memory.of_pages(3) == Memory(kib=12)
    assert Memory.of_mib(3) == Memory(kib=3072)
    assert Memory(kib=16 * 1024**3 - 4) == UNLIMITED


@given(KIB, KIB)
def test_arithmetic_and_order_are_those_of_kib(left: int, right: int) -> None:
    """Sums, differences, order, equality and hash are those of the KiB."""
    a, b = Memory(kib=left), Memory(kib=right)
    if left + right < END_KIB:
        assert (a + b).kib == left + right
    if left >= right:
        assert (a - b).kib == left - right
    assert (a < b, a <= b, a > b, a >= b) == (
        left < right,
        left <= right,
        left > right,
        left >= right,
    )
    assert (a == b, a != b, hash(a) == hash(left)) == (
        left == right,
        left != right,
        True,
    )


@pytest.mark.parametrize(("left", "right"), [(2**52 - 1, 1), (2**51, 2**51)])
def test_a_sum_out_of_range(left: int, right: int) -> None:
    """A sum that no Memory holds is a ValueError, not a wrap."""
    with pytest.raises(ValueError, match="cannot represent"):
        Memory(kib=left) + Memory(kib=right)


def test_a_difference_below_zero() -> None:
    """A negative difference is a ValueError, not a huge number."""
    with pytest.raises(ValueError, match="cannot represent -1 KiB"):
        Memory(kib=3) - Memory(kib=4)


@pytest.mark.parametrize("other", [5, 5.5, "text", None])
def test_bare_numbers_do_not_mix(other: object) -> None:
    """An amount neither adds to, takes from, nor equals a bare number."""
    with pytest.raises(TypeError):
        Memory(kib=5) + other  # type: ignore[operator]
    with pytest.raises(TypeError):
        Memory(kib=5) - other  # type: ignore[operator]
    assert Memory(kib=5) != other


def test_amounts_are_frozen() -> None:
    """No attribute of an amount can be set."""
    with pytest.raises(AttributeError, match="cannot change kib of Memory"):
        Memory(kib=5).kib = 6  # type: ignore[misc]


def test_texts() -> None:
    """An amount shows its KiB."""
    assert (repr(Memory(kib=5)), str(Memory(kib=5))) == ("Memory(kib=5)", "5 KiB")


@pytest.mark.parametrize(
    ("text", "kib"),
    [
        ("0", 0),
        ("1", 1024),
        ("512", 512 * 1024),
        ("512m", 512 * 1024),
        ("512M", 512 * 1024),
        ("3k", 3),
        ("3K", 3),
        ("0k", 0),
        ("2g", 2 * 1024**2),
        ("2T", 2 * 1024**3),
        ("1023b", 0),
        ("1024b", 1),
        ("2047B", 1),
        ("  7", 7 * 1024),
        ("\t+7k", 7),
        ("+7", 7 * 1024),
        ("007k", 7),
        ("4398046511103", 4398046511103 * 1024),
        ("4503599627370495k", 2**52 - 1),
        ("4611686018427387903b", 2**52 - 1),
    ],
)
def test_xls_sizes(text: str, kib: int) -> None:
    """A bare number is MiB; b, k, m, g and t in either case are units; bytes are floored."""
    assert Memory.of_xl(text) == Memory(kib=kib)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "k", "m", "+", "-", "-1", "-1k", "-1024", "1 k", "1k ", "1kb", "1p", "1x", "0x10",
        "1.5g", "1e3", "++1", "+-1", "+ 1", "1_000", "nan", "٣", "1٣", "3\u212a", "3µ", "²",
        "1" * 25, "4398046511104", "4503599627370496k", "4194304t", "4611686018427387904b",
        "99999999999999999999", "X7k", "\x1c7k",
    ],
)  # fmt: skip
def test_what_xl_takes_by_accident_is_refused(text: str) -> None:
    """Nothing, a bare suffix, a sign, other scripts' digits and letters, overflow: ValueError."""
    with pytest.raises(ValueError, match="cannot"):
        Memory.of_xl(text)


@pytest.mark.parametrize("zeros", [0, 1, 23, 24, 5000])
def test_zeros_in_front_count_for_nothing(zeros: int) -> None:
    """However many there are, even more than Python reads as one number."""
    assert Memory.of_xl("0" * zeros + "7k") == Memory(kib=7)
    assert Memory.of_xl("0" * zeros + "0") == Memory(kib=0)


@pytest.mark.parametrize(
    "text",
    [
        "18446744073709551615", "4194304t", "4194304T", "4294967296g", "4398046511104m",
        "4398046511104", "4503599627370496k", "4611686018427387904b", "1" * 25, "9" * 5000 + "k",
        "+4194304t", " 4194304t", "0" * 30 + "4194304t",
    ],
)  # fmt: skip
def test_a_size_that_is_too_large_is_called_that(text: str) -> None:
    """In every unit, with the most that is possible; however long, the message is not."""
    with pytest.raises(TooLarge, match=r"too large, the most is 4503599627370495 KiB$") as raised:
        Memory.of_xl(text)
    assert len(str(raised.value)) < 150


@pytest.mark.parametrize(
    ("text", "shown"), [("1" * 39 + "t", "1" * 39 + "t"), ("1" * 40 + "t", "1" * 37 + "...")]
)
def test_a_size_that_is_too_large_is_quoted_up_to_forty_characters(text: str, shown: str) -> None:
    """A longer one is cut there, so that a message has one line."""
    with pytest.raises(TooLarge, match=rf"^cannot take '{re.escape(shown)}': it is too large"):
        Memory.of_xl(text)


@pytest.mark.parametrize(("amount", "kib"), [(None, None), (Memory(kib=0), 0), (Memory(kib=7), 7)])
def test_an_amount_that_is_not_there_has_no_kib(amount: Memory | None, kib: int | None) -> None:
    """Nothing known is not 0 KiB."""
    assert kib_or_none(amount) == kib


@pytest.mark.parametrize("text", ["-1", "-18446744073709551615", "1.5g", "1e30", "9" * 30 + "x"])
def test_what_is_no_size_is_not_called_too_large(text: str) -> None:
    """A negative number, a fraction and an unknown unit are not read at all."""
    with pytest.raises(ValueError, match="cannot read") as raised:
        Memory.of_xl(text)
    assert type(raised.value) is ValueError


def plain_size(text: str) -> int | None:
    """Return the KiB that xl's grammar means, read letter by letter; None when it is no size."""
    place = 0
    while place < len(text) and text[place] in " \t\n\v\f\r":
        place += 1
    if text[place : place + 1] == "+":
        place += 1
    number, digits = 0, 0
    while place < len(text) and "0" <= text[place] <= "9":
        number, digits, place = number * 10 + int(text[place]), digits + 1, place + 1
    shift = {"": 20, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "B": 0, "K": 10, "M": 20}
    shift |= {"G": 30, "T": 40}
    if digits == 0 or text[place:] not in shift:
        return None
    kib = (number << shift[text[place:]]) >> 10
    return kib if kib < END_KIB else None


SIZES = st.one_of(
    st.text(alphabet="0123456789", min_size=1, max_size=20).flatmap(
        lambda digits: st.sampled_from(["", *"bkmgtBKMGT"]).map(lambda unit: digits + unit)
    ),
    st.text(alphabet=" +-0123456789bkmgtpKMG.x", max_size=12),
    st.text(max_size=6),
    st.from_regex(r"[\t ]?[+-]?[0-9]{1,18}\w?", fullmatch=True),
)


@given(SIZES)
def test_xls_grammar_against_an_oracle(text: str) -> None:
    """Whatever the text, it means what a reader letter by letter makes of it."""
    try:
        kib = Memory.of_xl(text).kib
    except ValueError:
        kib = None
    assert kib == plain_size(text)


@pytest.mark.parametrize("kib", [0, 4])
def test_an_amount_has_no_truth_value(kib: int) -> None:
    """0 KiB is an amount: `or` and `if` on amounts are a fault, and say so."""
    with pytest.raises(TypeError) as error:
        bool(Memory(kib=kib))
    assert str(error.value) == (
        f"cannot use Memory(kib={kib}) as a truth value: 0 KiB is an amount like any other"
        " (compare it, or ask whether it is None)"
    )
