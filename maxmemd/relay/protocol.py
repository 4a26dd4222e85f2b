"""Requests and replies between stub domains and the relay: docs/stub-domains.md specifies them.

Guests write requests, so these may be bytes of any kind and length until they are parsed here.
"""

import re
from typing import NamedTuple

_REQUEST = re.compile(rb"([0-9a-z]{1,16}) headroom ([1-9][0-9]{0,9})")
_ID = re.compile(rb"([0-9a-z]{1,16})(?: |\Z)")
END_PAGES = 2**32
"""The daemon accepts fewer pages than this."""
NO_ID = "-"
"""The ID in the reply to a request without one."""


class Request(NamedTuple):
    """A device model asks to populate this many 4 KiB pages."""

    id: str
    pages: int


class InvalidRequest(NamedTuple):
    """Bytes that are no request, with their ID if they have one."""

    id: str


def parse_request(value: bytes | None) -> Request | InvalidRequest | None:
    """Return the request in a node's value; None if it is empty or missing."""
    if not value:
        return None
    found = _REQUEST.fullmatch(value)
    if found is not None and int(found[2]) < END_PAGES:
        return Request(found[1].decode(), int(found[2]))
    with_id = _ID.match(value)
    return InvalidRequest(NO_ID if with_id is None else with_id[1].decode())


def is_answered(request: Request | InvalidRequest, reply: bytes | None) -> bool:
    """Whether a reply node has the answer to this request."""
    return reply is not None and reply.startswith(f"{request.id} ".encode())


def format_granted(limit_kib: int) -> str:
    """Return the answer, without ID, for a grant; the limit is the domain's new one."""
    return f"granted {limit_kib}"


def format_refused(code: str) -> str:
    """Return the answer, without ID, for a refusal and its code."""
    return f"refused {code}"
