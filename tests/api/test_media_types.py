"""A served daemon sends the statuses and the media types that its OpenAPI document declares."""

import http.client
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from maxmemd.api import openapi
from maxmemd.api.routes import ROUTES, Route
from tests.support.outside import Outside
from tests.support.wishes import BODIES, path_of

DOCUMENT = openapi.document()
UUID = "51a70000-0000-4000-8000-000000000001"
Case = tuple[str, str, dict[str, str], object]


def cases(route: Route) -> Iterator[Case]:
    """Yield requests, right and wrong in each way that a route can be asked wrongly."""
    path, body = path_of(route).replace("web", UUID), BODIES.get(route.handler.__name__)
    json_ = {"Content-Type": "application/json"} if route.takes is not None else {}
    yield "right", path, json_, body
    yield "plain text", path, {**json_, "Accept": "text/plain"}, body
    yield "anything", path, {**json_, "Accept": "*/*"}, body
    yield "not JSON wanted", path, {**json_, "Accept": "image/png"}, body
    yield "a browser", path, {**json_, "Origin": "http://evil.example"}, body
    yield "an unknown parameter", f"{path}?nothing=1", json_, body
    for name in sorted(route.query):
        yield f"a bad {name}", f"{path}?{name}=%00", json_, body
    if "{" in route.path:
        yield "nobody's", path.replace(UUID, "nobody").replace("roms", "nothing"), json_, body
        yield "a bad path", path.replace(UUID, "%01").replace("roms", "NO"), json_, body
    if route.writes:
        yield "stale", path, {**json_, "If-Match": '"999"'}, body
        yield "a bad header", path, {**json_, "If-Match": "7"}, body
        yield "only asked", f"{path}?dry_run=true", json_, body
    if route.takes is not None:
        yield "no media type", path, {}, body
        yield "no JSON", path, json_, "{"
        yield "no fields", path, json_, {}
        yield "too much", path, json_, "1" * 70_000
    if route.path == "/v1/events":
        yield "beyond", f"{path}?since=99999-0-00000000", {}, None
        yield "no stream", f"{path}?kind=nothing", {}, None
        yield "of nobody", f"{path}?domain=nobody", {}, None


ALL = [
    pytest.param(route, case, id=f"{route.method} {route.path}: {case[0]}")
    for route in ROUTES
    for case in cases(route)
]


def asked(daemon: Outside, method: str, path: str, headers: dict[str, str], body: Any) -> Any:
    """Send one request; return the reply, whose body is not read: a stream has no end."""
    connection = daemon.open()
    data = body if isinstance(body, str) or body is None else json.dumps(body)
    try:
        connection.request(method, path, data, headers)
        reply: http.client.HTTPResponse = connection.getresponse()
        return reply.status, (reply.headers["content-type"] or "").partition(";")[0]
    finally:
        connection.close()


@pytest.mark.parametrize(("route", "case"), ALL)
def test_what_is_sent_is_declared(daemon: Outside, route: Route, case: Case) -> None:
    """The document has the reply's status for this operation, and with it the media type."""
    what, path, headers, body = case
    status, media_type = asked(daemon, route.method, path, headers, body)
    declared = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
    assert str(status) in declared, what
    assert media_type in declared[str(status)]["content"], what


GETS = [route for route in ROUTES if route.method == "GET"]


@pytest.mark.parametrize("route", GETS, ids=lambda route: f"{route.method} {route.path}")
def test_what_is_declared_for_success_is_sent(daemon: Outside, route: Route) -> None:
    """Each media type that the document has for 200 is sent to a client that wants it."""
    declared = DOCUMENT["paths"][route.path]["get"]["responses"]["200"]["content"]
    for wanted in declared:
        assert asked(daemon, "GET", path_of(route), {"Accept": wanted}, None) == (200, wanted)


def test_every_declared_media_type_belongs_to_its_status() -> None:
    """A problem is problem+json and nothing else; only a health that is not ready is no problem."""
    operations = itertools.chain.from_iterable(
        ((path, one) for one in methods.values()) for path, methods in DOCUMENT["paths"].items()
    )
    for path, operation in operations:
        for status, response in operation["responses"].items():
            is_problem = int(status) >= 400 and (path, status) != ("/v1/health", "503")
            assert (set(response["content"]) == {"application/problem+json"}) is is_problem


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 9000],
    ids=["no HTTP", "too large a head"],
)
def test_what_cannot_be_parsed_is_answered_with_a_problem_too(daemon: Outside, sent: bytes) -> None:
    """A 400 is a problem document whatever sends it, as every operation declares."""
    with daemon.raw() as raw:
        raw.sendall(sent)
        head, _, body = raw.makefile("rb").read().partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in head
    assert json.loads(body)["code"] == "request-invalid"
