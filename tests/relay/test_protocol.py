"""What is read from a request node, whatever a guest wrote there."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxmemd.api.problems import STATUS
from maxmemd.relay import requests, stubdom
from maxmemd.relay.protocol import (
    InvalidRequest,
    Request,
    format_granted,
    format_refused,
    is_answered,
    parse_request,
)


@pytest.mark.parametrize("value", [None, b""])
def test_nothing_is_asked(value: bytes | None) -> None:
    """An empty node, as it is made, asks nothing."""
    assert parse_request(value) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a headroom 1", Request("a", 1)),
        (b"0123456789abcdef headroom 4294967295", Request("0123456789abcdef", 2**32 - 1)),
        (b"a headroom 4294967296", InvalidRequest("a")),
        (b"a headroom 9999999999", InvalidRequest("a")),
        (b"a headroom 99999999999", InvalidRequest("a")),
        (b"a headroom 0", InvalidRequest("a")),
        (b"a headroom -1", InvalidRequest("a")),
        (b"a headroom 01", InvalidRequest("a")),
        (b"a headroom 1\n", InvalidRequest("a")),
        (b"a headroom 1\0", InvalidRequest("a")),
        (b"a headroom  1", InvalidRequest("a")),
        (b"a headroom", InvalidRequest("a")),
        (b"a limit 1", InvalidRequest("a")),
        (b"a", InvalidRequest("a")),
        (b"a\n", InvalidRequest("-")),
        (b"A headroom 1", InvalidRequest("-")),
        (b"0123456789abcdefg headroom 1", InvalidRequest("-")),
        (b" headroom 1", InvalidRequest("-")),
        (b"- headroom 1", InvalidRequest("-")),
        ("\u0661 headroom 1".encode(), InvalidRequest("-")),
        ("a headroom \u0661".encode(), InvalidRequest("a")),
        (b"\xff" * 4000, InvalidRequest("-")),
    ],
)
def test_what_is_asked(value: bytes, expected: object) -> None:
    """Nothing but the one form is a request; of the rest the ID is kept where there is one."""
    assert parse_request(value) == expected


@given(st.binary(max_size=64))
def test_no_bytes_are_trouble(value: bytes) -> None:
    """Whatever is read is one of three, and its ID can stand in a reply and a key."""
    found = parse_request(value)
    if found is not None:
        assert found.id == "-" or found.id.encode() == value[: len(found.id)]
        assert len(found.id) <= 16
        assert found.id.isascii()
    if isinstance(found, Request):
        assert value == f"{found.id} headroom {found.pages}".encode()


def test_a_reply_answers_its_own_request_only() -> None:
    """The ID is compared whole, so that no ID is the beginning of another's answer."""
    assert is_answered(Request("a", 1), b"a granted 4")
    assert is_answered(InvalidRequest("-"), b"- refused request-invalid")
    for reply in (None, b"", b"a", b"ab granted 4", b"b granted 4"):
        assert not is_answered(Request("a", 1), reply)


def test_the_two_answers() -> None:
    """Either the new limit in KiB, or a code."""
    assert format_granted(132096) == "granted 132096"
    assert format_refused("above-owner-cap") == "refused above-owner-cap"


def test_the_contract_says_what_the_code_does() -> None:
    """The document's codes are codes, its bounds are the code's, and its example is a request."""
    text = (Path(__file__).parents[2] / "docs" / "stub-domains.md").read_text(encoding="utf-8")
    table = text.partition("## What is refused")[2].partition("## Which stub domains are served")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    codes = {code for row in rows for code in re.findall(r"`([a-z-]+)`", row.split("|")[1])}
    assert codes <= set(STATUS)
    assert {"above-owner-cap", "not-your-domain", "unknown-domain"} <= codes
    flat = " ".join(text.split())
    assert f"is read at most {1 / stubdom.LOOK_EVERY_S:.0f} times per second" in flat
    assert f"gets a burst of {stubdom.ASK_BURST} answers and then one per second" in flat
    assert f"At most {requests.MOST_AT_ONCE} requests of all stub domains" in flat
    examples = re.findall(r'xenstore-write maxmem/request "([^"]*)"', text)
    assert [parse_request(example.encode()) for example in examples] == [Request("a1", 64)]
