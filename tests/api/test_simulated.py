"""Whatever a person may look at says that a host is simulated, and nothing does where it is not."""

import pytest

from maxmemd.api.dispatch import Dispatcher
from maxmemd.api.pages import DOCS, HEADING, pages
from maxmemd.api.routes import ROUTES, Route
from tests.support.inside import Inside
from tests.support.outside import Outside

HEADER = "maxmem-host"
PATHS = ["/v1/docs", "/v1/openapi.json", "/v1/nosuch", "/"]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_replies_with_the_header(route: Route, api: Inside) -> None:
    """Whether or not it can be done: a body is missing here, a domain there."""
    if route.path == "/v1/events":
        pytest.skip("it never ends: a test over the socket has it")
    path = route.path.replace("{ref}", "web").replace("{uuid}", api.uuid(1))
    for name in ("{owner}", "{name}"):
        path = path.replace(name, "a")
    assert api.ask(route.method, path).headers[HEADER] == "simulated"


@pytest.mark.parametrize("path", PATHS)
def test_every_other_path_does_too(path: str, api: Inside) -> None:
    """Pages, and paths that do not exist."""
    assert api.ask("GET", path).headers[HEADER] == "simulated"


@pytest.mark.parametrize(
    "request_", [b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n", b"no HTTP\r\n\r\n"]
)
def test_streams_and_what_is_no_request_do_too(request_: bytes, daemon: Outside) -> None:
    """Their heads are not written where the others are."""
    with daemon.raw() as sock:
        sock.sendall(request_)
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(65536)
    assert b"\r\nmaxmem-host: simulated\r\n" in head.lower()


def test_bodies_that_people_read_say_it(api: Inside) -> None:
    """The docs page, metrics, health and the host, for those who never see a header."""
    assert "This host is simulated" in api.ask("GET", "/v1/docs").text
    assert 'host="simulated"' in api.ask("GET", "/metrics").text
    assert api.get("/v1/health")["simulated"] is True
    assert api.get("/v1/host")["simulated"] is True


def test_a_real_host_has_none_of_it(api: Inside) -> None:
    """Its replies have no such header, its page is the generated one, and its metrics say xen."""
    api.service.simulated = False
    api.serve(Dispatcher(api.service))
    for path in ["/v1/host", "/v1/health", "/metrics", *PATHS]:
        reply = api.ask("GET", path)
        assert HEADER not in reply.headers
        assert "simulated host" not in reply.text
    assert api.ask("GET", "/v1/docs").content == DOCS.read_bytes()
    assert 'host="xen"' in api.ask("GET", "/metrics").text
    assert api.get("/v1/health")["simulated"] is False


def test_the_page_has_a_place_for_it() -> None:
    """The line stands before the first heading."""
    assert DOCS.read_bytes().count(HEADING) > 1
    body = pages(simulated=True)["/v1/docs"].body
    assert body.index(b"simulated") < body.index(HEADING)
