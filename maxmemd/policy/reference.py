"""How a client names a domain: the one grammar of a reference, for every reader of one.

Digits are a domid, a UUID's form is a UUID, and everything else is a name. So a domain whose
name is all digits, or looks like a UUID, cannot be asked for by name, as with xl.
"""

import re
from functools import lru_cache
from typing import NamedTuple

UUID_PATTERN = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
"""A UUID in lower case, as the ledger and xenstore have it."""

_UUID = re.compile(UUID_PATTERN)
_MOST_DIGITS = 9
"""More digits than this are no domid: they are below 0x7FF0, and Xen's type has 16 bits."""


class Domid(NamedTuple):
    """A domain of this moment, by number; None is a number that no domain can have."""

    number: int | None


class Uuid(NamedTuple):
    """A domain in all its lives, by its UUID in lower case."""

    text: str


class Name(NamedTuple):
    """A domain by what xenstore calls it now."""

    text: str


Reference = Domid | Uuid | Name


def printable(name: str) -> str:
    """Return a name of xenstore's as it is shown and found: "?" for what cannot be printed."""
    if name.isprintable():
        return name
    return "".join(letter if letter.isprintable() else "?" for letter in name)


@lru_cache(maxsize=1024)
def parse_reference(text: str) -> Reference:
    """Return what a client's reference is; every text is one of the three."""
    if text.isascii() and text.isdigit():
        return Domid(int(text) if len(text) <= _MOST_DIGITS else None)
    if len(text) == 36 and _UUID.fullmatch(text.lower()) is not None:
        return Uuid(text.lower())
    return Name(text)
