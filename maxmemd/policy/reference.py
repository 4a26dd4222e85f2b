"""How a client names a domain: the one grammar of a reference, for every reader of one.

Digits are a domid, a UUID's form is a UUID, and everything else is a name. A domid means a domain
of this moment: one that is dying is refused. A UUID or a name means a domain in all its lives: a
living instance first, then the record that an earlier one left. A UUID that nothing has may be a
domain's name. Digits never are one, for domids are used again; the refusal names such a domain.
"""

import re
from functools import lru_cache
from typing import NamedTuple

UUID_PATTERN = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
"""A UUID in lower case, as the ledger and xenstore have it."""

MOST_NAME = 4096
"""The most that a message of xenstore carries (XENSTORE_PAYLOAD_MAX)."""

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
    """A domain by what xenstore calls it now, or called it last."""

    text: str


Reference = Domid | Uuid | Name


def printable(name: str) -> str:
    """Return a name of xenstore's as it is shown and found: "?" for what cannot be printed."""
    if name.isprintable():
        return name
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def is_called(text: str, name: str | None) -> bool:
    """Whether a reference's text is this name, written as it is or as it is shown."""
    return name is not None and name in (text, printable(text))


_PASSING = ("--incoming", "--migratedaway")
"""What xl adds to a name while it migrates a domain (tools/xl/xl_migrate.c)."""


def lasting_name(name: str) -> str:
    """Return a name without what xl adds to it during a migration."""
    for suffix in _PASSING:
        name = name.removesuffix(suffix) or name
    return name


@lru_cache(maxsize=1024)
def parse_reference(text: str) -> Reference:
    """Return what a client's reference is; every text is one of the three."""
    if text.isascii() and text.isdigit():
        return Domid(int(text) if len(text) <= _MOST_DIGITS else None)
    if len(text) == 36 and _UUID.fullmatch(text.lower()) is not None:
        return Uuid(text.lower())
    return Name(text)
