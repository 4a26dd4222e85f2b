"""Find the route of a method and a path, by a trie of path segments."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from maxmemd.api.routes import Route

Match = tuple[Route, Sequence[str], Sequence[str]]
"""A route, the names of its path parameters, and their values, not decoded."""


@dataclass(slots=True)
class _Node:
    """What may follow a path prefix: fixed words or one parameter; and the routes that end here.

    Never both words and a parameter, so that a path leads to one node without backtracking.
    `routes` maps methods to routes and the names of their parameters.
    """

    words: dict[str, "_Node"] = field(default_factory=dict)
    parameter: "_Node | None" = None
    routes: dict[str, tuple[Route, tuple[str, ...]]] = field(default_factory=dict)


class RoutingTable:
    """All routes. Ambiguous ones are refused when the table is built."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Build the table. Raises ValueError for two routes that collide."""
        self._root = _Node()
        for route in routes:
            self._add(route)

    def find(self, method: str, path: str) -> Match | None:
        """Return the route of a method and a path."""
        node, values = self._walk(path)
        found = None if node is None else node.routes.get(method)
        return None if found is None else (*found, values)

    def methods(self, path: str) -> frozenset[str]:
        """Return the methods of all routes with this path."""
        node, values = self._walk(path)
        return frozenset() if node is None or "" in values else frozenset(node.routes)

    def _walk(self, path: str) -> tuple[_Node | None, list[str]]:
        node = self._root
        values: list[str] = []
        for segment in path.split("/"):
            following = node.words.get(segment)
            if following is None:
                following = node.parameter
                if following is None:
                    return None, values
                values.append(segment)
            node = following
        return node, values

    def _add(self, route: Route) -> None:
        node = self._root
        names = []
        for segment in route.path.split("/"):
            if segment.startswith("{"):
                if node.words:
                    raise _collision(route, next(iter(node.words.values())))
                names.append(segment[1:-1])
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                if node.parameter is not None:
                    raise _collision(route, node.parameter)
                node = node.words.setdefault(segment, _Node())
        if route.method in node.routes:
            raise _collision(route, node)
        node.routes[route.method] = route, tuple(names)


def _collision(route: Route, other: _Node) -> ValueError:
    while not other.routes:  # any route with this prefix will do
        other = other.parameter or next(iter(other.words.values()))
    first, _ = next(iter(other.routes.values()))
    return ValueError(
        f"cannot tell {route.method} {route.path} from {first.method} {first.path}:"
        " one path may mean either"
    )
