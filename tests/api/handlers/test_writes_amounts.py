"""Amounts at their edges, and everything that only looks like an amount."""

import pytest

from maxmemd.units import END_KIB, UNLIMITED, UNLIMITED_PAGES, Memory
from maxmemd.xen.simulated import SimulatedHost
from tests.support.inside import Inside, problem

LIMIT = "/v1/domains/web/limit"
ROMS = "/v1/domains/web/components/device-model/roms"
MOST = END_KIB - 1 - 1024
"""The largest limit: with libxl's slack it is just below 2**52."""


@pytest.mark.parametrize(
    ("kib", "pages"),
    [
        (0, 256),
        (3, 256),
        (4, 257),
        (2**31, 2**29 + 256),
        (2**32, 2**30 + 256),
        (UNLIMITED.kib - 1024 - 4, UNLIMITED_PAGES - 1),
        (UNLIMITED.kib - 1024 - 1, UNLIMITED_PAGES - 1),
        (UNLIMITED.kib - 1024, UNLIMITED_PAGES),
        (17179869180, UNLIMITED_PAGES),
        (MOST, UNLIMITED_PAGES),
    ],
)
def test_a_limit_reaches_xen_in_pages(api: Inside, kib: int, pages: int) -> None:
    """KiB are rounded down to pages once, after the sum, and saturate at "unlimited"."""
    body = api.put(LIMIT, {"max_mem_kib": kib, "force": True})
    assert body["limit_kib"] == kib + 1024
    assert body["max_pages"] == pages == api.pages(1)
    assert body["unlimited"] == (pages == UNLIMITED_PAGES)
    assert api.get("/v1/domains/web")["recorded_static_max_kib"] == kib


@pytest.mark.parametrize("kib", [MOST + 1, END_KIB - 1])
def test_a_sum_out_of_range(api: Inside, kib: int) -> None:
    """A sum that passes 2**52 is refused with its number, and nothing changes."""
    body = problem(api.ask("PUT", LIMIT, {"max_mem_kib": kib}), "limit-out-of-range", 409)
    assert body["limit_kib"] == kib + 1024
    assert api.get("/v1/domains/web")["revision"] == 1


@pytest.mark.parametrize(
    "text",
    ["true", "false", '"5"', '""', "null", "4.5", "-1", "-4.0", "[]", "{}", str(END_KIB), "1e30"],
)
def test_what_is_no_amount(api: Inside, text: str) -> None:
    """Bools, texts, fractions, negatives and what is out of range are refused, naming the field."""
    reply = api.ask("PUT", LIMIT, raw=b'{"max_mem_kib": %s}' % text.encode())
    assert problem(reply, "body-invalid", 422)["errors"][0]["field"] == "max_mem_kib"
    reply = api.ask("PUT", ROMS, raw=b'{"amount_kib": %s}' % text.encode())
    problem(reply, "body-invalid", 422)
    assert api.get("/v1/domains/web")["revision"] == 1


TOO_LARGE = "it is too large, the most is 4503599627370495 KiB"


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("PUT", LIMIT, '{"max_mem_kib": 4503599627370496}', f"max_mem_kib: {TOO_LARGE}"),
        ("PUT", LIMIT, '{"max_mem_kib": 18446744073709551615}', f"max_mem_kib: {TOO_LARGE}"),
        ("PUT", LIMIT, '{"max_mem_kib": 1e30}', f"max_mem_kib: {TOO_LARGE}"),
        ("PUT", ROMS, '{"amount_kib": 18446744073709551615}', f"amount_kib: {TOO_LARGE}"),
        ("POST", f"{ROMS}/increase", '{"by_kib": 4503599627370496}', f"by_kib: {TOO_LARGE}"),
        (
            "POST", f"{ROMS}/increase", '{"by_kib": -4503599627370496}',
            "by_kib: it is too small, the least is -4503599627370495 KiB",
        ),
        ("PUT", LIMIT, '{"max_mem_kib": -1}', "max_mem_kib: it is too small, the least is 0 KiB"),
        ("PUT", "/v1/domains/web/target", '{"target_kib": 1e30}', f"target_kib: {TOO_LARGE}"),
        (
            "POST", "/v1/domains/web/headroom", '{"pages": 4294967296}',
            "pages: it is too large, the most is 4294967295",
        ),
        (
            "PUT", "/v1/records/51a70000-0000-4000-8000-00000000000a",
            '{"components": [{"owner": "operator", "name": "max-mem", "amount_kib": 1e20}]}',
            f"components.0.amount_kib: {TOO_LARGE}",
        ),
        (
            "PUT", "/v1/records/51a70000-0000-4000-8000-00000000000a",
            '{"components": [{"owner": "Operator", "name": "max-mem", "amount_kib": 4}]}',
            ("components.0.owner: write 1 to 64 of a-z, 0-9 and . _ -,"
            " with a letter or a digit first"),
        ),
    ],
)  # fmt: skip
def test_a_field_out_of_bounds_is_said_in_words(
    api: Inside, method: str, path: str, body: str, said: str
) -> None:
    """Too large, with the most; too small, with the least; and no pattern for a person to read."""
    told = problem(api.ask(method, path, raw=body.encode()), "body-invalid", 422)
    assert told["detail"] == f"cannot use the body: {said}"
    assert f"{told['errors'][0]['field']}: {told['errors'][0]['message']}" == said


@pytest.mark.parametrize("text", ["1" * 5000, "-" + "1" * 5000])
def test_a_number_without_end_is_not_called_bad_json(api: Inside, text: str) -> None:
    """It is JSON; the number is too large."""
    reply = api.ask("PUT", LIMIT, raw=b'{"max_mem_kib": %s}' % text.encode())
    assert problem(reply, "json-invalid", 400)["detail"] == (
        "cannot read the body: a number in it is too large"
    )


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1" * 5000, "0x10", "1_000"])
def test_numbers_that_json_does_not_have(api: Inside, text: str) -> None:
    """NaN, infinities and absurdly long numbers are a client's fault, never ours."""
    reply = api.ask("PUT", LIMIT, raw=b'{"max_mem_kib": %s}' % text.encode())
    assert reply.status_code in (400, 422)
    assert reply.json()["detail"].startswith("cannot ")
    assert text not in reply.text


@pytest.mark.parametrize("text", ["600000", "600000.0", "6e5", "6E+5"])
def test_every_way_to_write_an_integer(api: Inside, text: str) -> None:
    """4.0 is the integer 4, as JSON Schema has it."""
    reply = api.ask("PUT", LIMIT, raw=b'{"max_mem_kib": %s}' % text.encode())
    assert (reply.status_code, reply.json()["limit_kib"]) == (200, 601024)


def test_a_field_that_is_given_twice(api: Inside) -> None:
    """The last one counts, as in every parser of JSON here."""
    reply = api.ask("PUT", LIMIT, raw=b'{"max_mem_kib": 700000, "max_mem_kib": 600000}')
    assert (reply.status_code, reply.json()["limit_kib"]) == (200, 601024)


def test_a_zero_with_a_sign(api: Inside) -> None:
    """-0 and -0.0 are 0."""
    for text in (b"-0", b"-0.0"):
        reply = api.ask("PUT", ROMS, raw=b'{"amount_kib": %s}' % text)
        assert (reply.status_code, reply.json()["limit_kib"]) == (200, 525312)


@pytest.mark.parametrize(
    "field", ["limit_kib", "max_mem_mib", "Max_mem_kib", "target_kib", "__proto__"]
)
def test_an_unknown_field(api: Inside, field: str) -> None:
    """An unknown field is refused by name, so that a typing error never acts."""
    reply = api.ask("PUT", LIMIT, {"max_mem_kib": 700_000, field: 1})
    assert problem(reply, "body-invalid", 422)["errors"][0]["field"] == field


@pytest.mark.parametrize(
    "body", [{}, {"target_kib": 4, "by_kib": 4}, {"enforce": True}, {"by_kib": None}]
)
def test_a_target_is_given_in_one_way(api: Inside, body: object) -> None:
    """A target is absolute or a difference: exactly one of them."""
    problem(api.ask("PUT", "/v1/domains/web/target", body), "body-invalid", 422)


@pytest.mark.parametrize("by_kib", [END_KIB - 1, 1 - END_KIB])
def test_differences_at_their_edges(api: Inside, by_kib: int) -> None:
    """A difference beyond what there is, or what there can be, is refused with its numbers."""
    reply = api.ask("POST", ROMS + "/increase", {"by_kib": by_kib})
    if by_kib < 0:
        assert problem(reply, "component-below-zero", 409)["amount_kib"] == 0
    else:
        problem(reply, "limit-out-of-range", 409)
    limit = api.ask("PUT", "/v1/domains/web/target", {"by_kib": by_kib})
    if by_kib < 0:
        assert (limit.status_code, limit.json()["target_kib"]) == (200, 0)
    else:
        problem(limit, "limit-out-of-range", 409)


@pytest.mark.parametrize("by_kib", [-END_KIB, END_KIB])
def test_differences_out_of_range(api: Inside, by_kib: int) -> None:
    """A difference is below 2**52 in either direction."""
    reply = api.ask("POST", ROMS + "/increase", {"by_kib": by_kib})
    problem(reply, "body-invalid", 422)


@pytest.mark.parametrize("kind", ["hvm", "pvh"])
@pytest.mark.parametrize("enforce", [True, False])
def test_a_target_so_large_that_its_sums_are_not(api: Inside, kind: str, *, enforce: bool) -> None:
    """A target whose limit or PoD target would pass 2**52 is granted or refused, not a fault."""
    ref = "db" if kind == "hvm" else "3"
    parts = [{"owner": "operator", "name": "max-mem", "amount_kib": 600 * 1024}]
    record = {"components": parts, "static_max_kib": END_KIB - 1}
    api.put(f"/v1/records/{api.uuid(2 if kind == 'hvm' else 3)}", record)
    before = api.host.nodes.facts(2 if kind == "hvm" else 3).target
    assert before is not None
    by_kib = END_KIB - 1 - before.kib
    reply = api.ask("PUT", f"/v1/domains/{ref}/target", {"by_kib": by_kib, "enforce": enforce})
    if enforce:
        problem(reply, "limit-out-of-range", 409)
    else:
        assert reply.status_code in (200, 202, 409), reply.text


def test_unlimited_stays_unlimited(api: Inside) -> None:
    """A domain that was unlimited before maxmemd came is adopted as unlimited, and told so."""
    host: SimulatedHost = api.host
    domid = host.create("wild", memory=Memory.of_mib(64))
    host.foreign_write(domid, UNLIMITED)
    body = api.get("/v1/domains/wild")
    assert (body["unlimited"], body["max_pages"]) == (True, UNLIMITED_PAGES)
    assert "unlimited" in api.get("/v1/domains/wild/explain")["text"]
    assert host.machine.domain(domid).max_pages == UNLIMITED_PAGES


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[", b"[" * 60_000, b"\xff\xfe", b'{"max_mem_kib":1}x', b"'a'", b"\x00",
            b'\xef\xbb\xbf{"max_mem_kib":700000}', b'{"max_mem_kib":700000,"reason":"\\ud800"}'],
)  # fmt: skip
def test_what_is_no_json(api: Inside, raw: bytes) -> None:
    """A body that cannot be parsed is refused, and nothing of it is echoed."""
    problem(api.ask("PUT", LIMIT, raw=raw), "json-invalid", 400)


@pytest.mark.parametrize("raw", [b"1", b"null", b"[]", b'"x"', b"true"])
def test_json_that_is_no_object(api: Inside, raw: bytes) -> None:
    """A body that is JSON, but no object, does not have the form."""
    problem(api.ask("PUT", LIMIT, raw=raw), "body-invalid", 422)


def test_a_body_that_is_too_large(api: Inside) -> None:
    """64 KiB are enough for any wish; one byte more is refused with the bound."""
    full = b'{"max_mem_kib": 700000}'
    assert api.ask("PUT", LIMIT, raw=full.ljust(65536)).status_code == 200
    reply = api.ask("PUT", LIMIT, raw=full.ljust(65537))
    assert problem(reply, "body-too-large", 413)["at_most_bytes"] == 65536


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "json"])
def test_another_media_type(api: Inside, kind: str) -> None:
    """A body is taken only as what it says that it is."""
    reply = api.ask("PUT", LIMIT, {"max_mem_kib": 700_000}, headers={"Content-Type": kind})
    problem(reply, "media-type-unsupported", 415)


def test_a_media_type_with_its_charset(api: Inside) -> None:
    """A charset parameter does no harm."""
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert api.ask("PUT", LIMIT, {"max_mem_kib": 700_000}, headers=headers).status_code == 200


def test_too_many_components(api: Inside) -> None:
    """A domain has at most 64 components; the 65th is refused with the numbers."""
    for number in range(62):
        api.put(f"/v1/domains/web/components/device-model/part-{number}", {"amount_kib": 4})
    reply = api.ask("PUT", ROMS, {"amount_kib": 4})
    body = problem(reply, "too-many-components", 409)
    assert (body["components"], body["at_most"]) == (65, 64)
