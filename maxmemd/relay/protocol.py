"""What a stub domain and the relay write to each other; docs/stub-domains.md is the contract.

What a guest wrote is bytes of any kind and length until it is parsed here.
"""

import re
from typing import NamedTuple

_REQUEST = re.compile(rb"([0-9a-z]{1,16}) headroom ([1-9][0-9]{0,9})")
_ID = re.compile(rb"([0-9a-z]{1,16})(?: |\Z)")
END_PAGES = 2**32
"""The daemon takes fewer pages than this."""
NO_ID = "-"
"""Stands for the ID of a request that has none."""


class Request(NamedTuple):
    """A device model is about to populate this many 4 KiB pages."""

    id: str
    pages: int


class Unusable(NamedTuple):
    """What cannot be read as a request, with its ID if it has one."""

    id: str


def asked(value: bytes | None) -> Request | Unusable | None:
    """Return what a request node says; None where nothing is asked."""
    if not value:
        return None
    found = _REQUEST.fullmatch(value)
    if found is not None and int(found[2]) < END_PAGES:
        return Request(found[1].decode(), int(found[2]))
    named = _ID.match(value)
    return Unusable(NO_ID if named is None else named[1].decode())


def is_answered(request: Request | Unusable, reply: bytes | None) -> bool:
    """Whether a reply node holds the answer to this very request."""
    return reply is not None and reply.startswith(f"{request.id} ".encode())


def granted(limit_kib: int) -> str:
    """Return the answer, without its ID, that there is room; the limit is the domain's new one."""
    return f"granted {limit_kib}"


def refused(code: str) -> str:
    """Return the answer, without its ID, that there will be no room; the code says why."""
    return f"refused {code}"
