"""Amounts of memory: one type, counted in KiB; pages, MiB and xl's size grammar only at the edge.

Besides, the range of domids, which every layer above needs.

This module imports nothing, so that `maxmemctl` starts fast.
"""

KIB_PER_PAGE = 4
"""x86 and Arm guests are accounted in 4 KiB pages whatever size they map (xen/include/public)."""

UNLIMITED_PAGES = 0xFFFFFFFF
"""`max_pages` is an unsigned int in Xen; its largest value reads "no limit" (A1)."""

END_KIB = 2**52
"""Every amount is below this many KiB, so that it survives JSON readers that use doubles."""

DOMID_FIRST_RESERVED = 0x7FF0
"""Domains have domids below this; from here on one means "self", "io", ... (Xen's public/xen.h)."""

_SUFFIX_BYTES = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_MOST_DIGITS = 24
"""More digits than this are no amount of any unit: an amount of bytes has 19 at most."""


class TooLarge(ValueError):
    """A size that is written as it should be, and larger than any Memory."""

    def __init__(self, text: str) -> None:
        shown = text if len(text) <= 40 else f"{text[:37]}..."
        super().__init__(f"cannot take {shown!r}: it is too large, the most is {END_KIB - 1} KiB")


def max_pages_of(kib: int) -> int:
    """Return what Xen keeps for a limit: whole pages, saturated at UNLIMITED_PAGES (A1)."""
    return min(kib // KIB_PER_PAGE, UNLIMITED_PAGES)


class Memory:
    """An amount of memory, 0 <= kib < 2**52. Frozen, ordered, hashable.

    Raises ValueError for a value out of range and TypeError for anything that is not an int.
    """

    __slots__ = ("kib",)
    kib: int

    def __init__(self, *, kib: int) -> None:
        if type(kib) is not int:
            raise TypeError(f"cannot take {kib!r} as KiB: an int is needed")
        if not 0 <= kib < END_KIB:
            raise ValueError(f"cannot represent {kib} KiB: 0 to {END_KIB - 1} KiB are possible")
        object.__setattr__(self, "kib", kib)

    @classmethod
    def of_pages(cls, pages: int) -> "Memory":
        """Return the size of that many 4 KiB pages."""
        return cls(kib=pages * KIB_PER_PAGE)

    @classmethod
    def of_mib(cls, mib: int) -> "Memory":
        """Return that many MiB."""
        return cls(kib=mib * 1024)

    @classmethod
    def of_xl(cls, text: str) -> "Memory":
        """Parse xl's size grammar: a bare number is MiB; b, k, m, g, t in either case are units.

        Bytes are floored to KiB. Source: tools/xl/xl_parse.c:parse_mem_size_kb. What xl takes by
        accident (nothing, a bare suffix, a negative number, overflow) raises ValueError.
        """
        digits = text.lstrip(" \t\n\v\f\r").removeprefix("+")
        suffix = "m"
        if digits[-1:].isalpha():
            digits, suffix = digits[:-1], digits[-1].lower()
        if not (text.isascii() and digits.isdigit()):
            raise ValueError(f"cannot read {text!r} as a size")
        if suffix not in _SUFFIX_BYTES:
            raise ValueError(f"cannot read {text!r} as a size: the unit is one of b, k, m, g, t")
        return cls.of_digits(digits, _SUFFIX_BYTES[suffix], text)

    @classmethod
    def of_digits(cls, digits: str, unit_bytes: int, text: str) -> "Memory":
        """Return so many units, floored to KiB; `text` is how they were written.

        Raises TooLarge. Digits without end are not counted: that would take time without end.
        """
        digits = digits.lstrip("0") or "0"
        kib = int(digits) * unit_bytes // 1024 if len(digits) <= _MOST_DIGITS else END_KIB
        if kib >= END_KIB:
            raise TooLarge(text)
        return cls(kib=kib)

    @property
    def pages(self) -> int:
        """Whole 4 KiB pages, rounded down."""
        return self.kib // KIB_PER_PAGE

    @property
    def max_pages(self) -> int:
        """The value Xen keeps for this limit (A1)."""
        return max_pages_of(self.kib)

    @property
    def mib(self) -> int:
        """Whole MiB, rounded down."""
        return self.kib // 1024

    def __add__(self, other: "Memory") -> "Memory":
        if type(other) is not Memory:
            return NotImplemented
        return Memory(kib=self.kib + other.kib)

    def __sub__(self, other: "Memory") -> "Memory":
        if type(other) is not Memory:
            return NotImplemented
        return Memory(kib=self.kib - other.kib)

    def __bool__(self) -> bool:
        raise TypeError(
            f"cannot use {self!r} as a truth value: 0 KiB is an amount like any other"
            " (compare it, or ask whether it is None)"
        )

    def __eq__(self, other: object) -> bool:
        return type(other) is Memory and self.kib == other.kib

    def __lt__(self, other: "Memory") -> bool:
        return self.kib < other.kib

    def __le__(self, other: "Memory") -> bool:
        return self.kib <= other.kib

    def __gt__(self, other: "Memory") -> bool:
        return self.kib > other.kib

    def __ge__(self, other: "Memory") -> bool:
        return self.kib >= other.kib

    def __hash__(self) -> int:
        return hash(self.kib)

    def __repr__(self) -> str:
        return f"Memory(kib={self.kib})"

    def __str__(self) -> str:
        return f"{self.kib} KiB"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"cannot change {name} of {self!r}: amounts are frozen")


UNLIMITED = Memory.of_pages(UNLIMITED_PAGES)
"""The smallest limit that Xen keeps as "no limit" (16 TiB - 4 KiB)."""


def kib_or_none(amount: Memory | None) -> int | None:
    """Return an amount in KiB, None where there is none."""
    return None if amount is None else amount.kib
