"""FastAPI describes our routes, when the project is built: `make openapi`.

The daemon neither imports this module nor FastAPI: it serves the bytes that are made here.
"""

import json
from collections.abc import Callable
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query
from fastapi import Path as InPath
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic_core import to_json

from maxmemd import __version__
from maxmemd.api.docs_page import page
from maxmemd.api.event_format import ID_FORM, KINDS
from maxmemd.api.pages import DOCS, HERE, OPENAPI
from maxmemd.api.routes import PATTERNS, ROUTES, Route
from maxmemd.wire import replies

FOR_REVIEW = HERE.parents[1] / "docs" / "openapi.json"
"""The same document, sorted and indented, so that a diff shows what changed."""
_KIND = f"({'|'.join(KINDS)})"
_KINDS = f"^{_KIND}(,{_KIND})*$"
_REF = "a domid, a UUID, or the name of a live domain"
_HEADERS = {
    "if_match": Header(pattern=r'^"[0-9]{1,15}"$', description="the revision seen"),
    "idempotency_key": Header(
        pattern=r"^[!-~]{1,128}$", description="the same key never decides twice"
    ),
}
_QUERY: dict[str, tuple[Any, Any]] = {
    "dry_run": (bool, Query(description="decide and answer, change nothing")),
    "limit": (int, Query(ge=1, le=500, description="how many at most")),
    "since": (str, Query(pattern=ID_FORM, description="only events after this id, 0 is the first")),
    "domain": (str, Query(description="only of " + _REF)),
    "kind": (str, Query(pattern=_KINDS, description="only of these kinds, with commas between")),
    "before": (int, Query(ge=1, le=2**52, description="only lines below this seq")),
}


def document() -> dict[str, Any]:
    """Return the OpenAPI document of all routes, in their order."""
    app = FastAPI(
        title="maxmemd",
        version=__version__,
        summary="The single arbiter of guest memory limits on a Xen host",
    )
    app.router.routes = [_documented(route) for route in ROUTES]
    document = app.openapi()
    for operation in document["paths"]["/v1/events"].values():
        del operation["responses"]["422"]  # FastAPI's own, which the daemon never sends
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    schema = replies.Problem.model_json_schema()
    document["components"]["schemas"]["Problem"] = schema
    document["components"]["schemas"]["Event"] = _flat(document, replies.Event)
    return document


def files() -> dict[Path, bytes]:
    """Return every generated file: what the daemon serves, and what a reviewer reads."""
    found = document()
    readable = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return {OPENAPI: to_json(found), DOCS: page(found).encode(), FOR_REVIEW: readable.encode()}


def main() -> None:
    """Write the generated files into this checkout."""
    for path, data in files().items():
        path.write_bytes(data)


def _flat(document: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's schema; what it refers to becomes the document's, where it is missing."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    for name, nested in schema.pop("$defs", {}).items():
        document["components"]["schemas"].setdefault(name, nested)
    return schema


def _documented(route: Route) -> APIRoute:
    codes = {200: "granted and in force" if route.writes else "as it is now"}
    responses: dict[int | str, dict[str, Any]] = {200: {"description": codes[200]}}
    if route.gives is replies.DecisionReply:
        pending = "granted and durable, not yet in force: see push"
        responses[202] = {"model": replies.DecisionReply, "description": pending}
    for status in sorted(_statuses(route)):
        media = {"application/problem+json": {"schema": _PROBLEM_REF}}
        responses[status] = {"description": _TITLES[status], "content": media}
    if route.path == "/v1/health":
        responses[503] = {"model": replies.Health, "description": "not ready"}
    if route.gives is None:
        responses[200]["content"] = {route.media_type: {"schema": {"type": "string"}}}
    return APIRoute(
        route.path,
        endpoint=_endpoint(route),
        methods=[route.method],
        response_model=route.gives,
        responses=responses,
        summary=route.summary,
        description=(route.handler.__doc__ or "") + f" Access: {route.access.name}.",
        operation_id=route.handler.__name__,
    )


def _statuses(route: Route) -> set[int]:
    """Return which problems a route can answer with."""
    found = {400, 401, 403, 429, 503}
    if "{ref}" in route.path:
        found |= {404, 409, 410, 422}
    if "domain" in route.query:
        found |= {404, 409, 410}
    if route.writes:
        found |= {412, 507}
    if route.path.startswith("/v1/tokens") and route.method != "GET":
        found |= {409} if route.takes else {404, 422}
    if route.takes is not None:
        found |= {413, 415, 422}
    return found


_TITLES = {
    400: "a header, the query or the JSON cannot be read",
    401: "no token or certificate says who the caller is (over TCP)",
    403: "the caller may not do that",
    404: "no such domain, owner, component or revision",
    409: "the wish cannot be granted as things are",
    410: "the domain is gone or dying",
    412: "the record is at another revision by now",
    413: "the body is too large",
    415: "the body is not application/json",
    422: "the body or the path is not of the form described",
    429: "the caller asks too often (see Retry-After), or has too many streams open",
    503: "Xen, xenstore, the ledger or the arbiter cannot answer now",
    507: "there is no space for the next decision",
}
_PROBLEM_REF = {"$ref": "#/components/schemas/Problem"}


def _endpoint(route: Route) -> Callable[..., Any]:
    """Return a function whose signature describes the route to FastAPI; it is never called."""

    async def described() -> None:
        raise NotImplementedError

    parameters = [_path_parameter(name) for name in _names(route.path)]
    for name in sorted(route.query):
        kind, query = _QUERY[name]
        default = False if kind is bool else None
        parameters.append(_parameter(name, kind, query, default))
    if route.writes:
        parameters += [_parameter(name, str, header, None) for name, header in _HEADERS.items()]
    if route.takes is not None:
        parameters.append(_parameter("body", route.takes, None, Parameter.empty))
    described.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return described


def _names(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _path_parameter(name: str) -> Parameter:
    described = InPath(pattern=PATTERNS[name], description=_REF if name == "ref" else None)
    return _parameter(name, str, described, Parameter.empty)


def _parameter(name: str, kind: Any, described: Any, default: Any) -> Parameter:
    annotation = kind if described is None else Annotated[kind, described]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


if __name__ == "__main__":
    main()
