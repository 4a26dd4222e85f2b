"""The routing table: any shape of path is found, and routes that collide are refused."""

from dataclasses import replace

import pytest

from maxmemd.api.dispatch import Dispatcher
from maxmemd.api.routes import ROUTES, Route
from maxmemd.api.routing import RoutingTable
from tests.support.inside import Inside

HOST = ROUTES[0]


def route(method: str, path: str) -> Route:
    """Return a route of this method and path."""
    return replace(HOST, method=method, path=path)


@pytest.mark.parametrize("one", ROUTES, ids=lambda one: f"{one.method} {one.path}")
def test_every_route_is_found(one: Route) -> None:
    """Each route is found by its method and its path, with its parameters in order."""
    names = [part[1:-1] for part in one.path.split("/") if part.startswith("{")]
    written = one.path.replace("{", "the-").replace("}", "")
    found = RoutingTable(ROUTES).find(one.method, written)
    assert found is not None
    assert found[0] is one
    assert list(found[1]) == names
    assert list(found[2]) == [f"the-{name}" for name in names]


@pytest.mark.parametrize(
    ("path", "asked", "values"),
    [
        ("/v2", "/v2", []),
        (
            "/v1/domains/{ref}/components/{owner}",
            "/v1/domains/web/components/qemu",
            ["web", "qemu"],
        ),
        ("/v1/a/b/c/d/e/f/{name}/g", "/v1/a/b/c/d/e/f/x/g", ["x"]),
        ("/v1/{ref}/{owner}/{name}", "/v1/1/2/3", ["1", "2", "3"]),
    ],
)
def test_a_route_of_a_new_shape_is_found(path: str, asked: str, values: list[str]) -> None:
    """Neither the length of a path nor the place of its parameters matters."""
    table = RoutingTable([route("GET", path), route("PUT", path)])
    found = table.find("PUT", asked)
    assert found is not None
    assert (found[0].path, found[0].method, found[2]) == (path, "PUT", values)
    assert table.methods(asked) == {"GET", "PUT"}
    assert table.find("POST", asked) is None
    assert table.find("GET", asked + "/") is None
    assert table.methods(asked + "/more") == frozenset()


def test_a_route_of_a_new_shape_is_served(api: Inside) -> None:
    """A route is served once it is in the list, beside all others."""
    wide = Dispatcher(api.service, (*ROUTES, route("GET", "/v1/host/{name}/memory/all")))
    api.serve(wide)
    assert api.get("/v1/host/x/memory/all") == api.get("/v1/host")
    assert api.ask("PUT", "/v1/host/x/memory/all").headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("GET /v1/host", "GET /v1/host"),
        ("GET /v1/domains/{ref}", "GET /v1/domains/{name}"),
        ("GET /v1/domains/{ref}/limit", "GET /v1/domains/all"),
        ("PUT /v1/domains/all/limit", "GET /v1/domains/{ref}"),
    ],
)
def test_routes_that_collide_are_refused(first: str, second: str) -> None:
    """Where one path may mean two routes there is no table, and the error names both."""
    routes = [route(*first.split()), route(*second.split())]
    with pytest.raises(ValueError, match="one path may mean either") as raised:
        RoutingTable(routes)
    assert first in str(raised.value)
    assert second in str(raised.value)


def test_a_path_may_have_other_methods(api: Inside) -> None:
    """The same path with another method is another route."""
    assert RoutingTable(ROUTES).methods("/v1/tokens") == {"GET", "POST"}
    assert api.ask("PUT", "/v1/tokens").headers["allow"] == "GET, POST"
