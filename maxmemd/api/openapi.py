"""The FastAPI application behind the front: the OpenAPI document, the docs page, 404 and 405."""

from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Annotated, Any

from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.routing import Match

from maxmemd import __version__
from maxmemd.api import problems
from maxmemd.api.dispatch import Dispatcher, malformed, send_stream
from maxmemd.api.docs_page import page
from maxmemd.api.event_format import ID_FORM, KINDS
from maxmemd.api.response import StreamingResponse
from maxmemd.api.routes import PATTERNS, ROUTES, Route
from maxmemd.wire import replies

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


def described_by(front: Dispatcher) -> FastAPI:
    """Return the application behind a front."""
    behind = FastAPI(
        title="maxmemd",
        version=__version__,
        summary="The single arbiter of guest memory limits on a Xen host",
        openapi_url=None,  # FastAPI would write all of it anew for each who asks
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for route in ROUTES:
        behind.router.routes.append(_documented(route, front))

    document = _described(behind)
    behind.openapi = lambda: document  # type: ignore[method-assign]
    as_json, as_page = to_json(document), page(document).encode()

    @behind.get("/v1/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(as_json, media_type="application/json")

    @behind.get("/v1/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(as_page)

    @behind.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        code = "method-not-allowed" if error.status_code == 405 else "not-found"
        detail = f"cannot {request.method} {request.url.path}: see /v1/docs for what there is"
        status, body = problems.document(code, detail[:300], {})
        headers = {"Allow": _allowed(behind, request)} if error.status_code == 405 else None
        return Response(body, status, headers, problems.MEDIA_TYPE.decode())

    return behind


def _allowed(app: FastAPI, request: Request) -> str:
    """Return the methods of all routes with this path: Starlette tells only the first one's."""
    routes = [route for route in app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({name for route in routes for name in getattr(route, "methods", ())}))


def _described(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the problem that every route can answer."""
    document = FastAPI.openapi(app)
    for operation in document["paths"]["/v1/events"].values():
        del operation["responses"]["422"]  # FastAPI's own, which the front never sends
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    schema = replies.Problem.model_json_schema()
    document["components"]["schemas"]["Problem"] = schema
    document["components"]["schemas"]["Event"] = _flat(document, replies.Event)
    return document


def _flat(document: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's schema; what it refers to becomes the document's, where it is missing."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    for name, nested in schema.pop("$defs", {}).items():
        document["components"]["schemas"].setdefault(name, nested)
    return schema


class _Documented(APIRoute):
    """A route that FastAPI describes and the front serves."""

    def __init__(self, route: Route, front: Dispatcher, **described: Any) -> None:
        self._route, self._front = route, front
        super().__init__(route.path, **described)

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Serve as the front does, for the rare request whose path it did not recognise."""

        async def handler(request: Request) -> Response:
            path = {name: str(value) for name, value in request.path_params.items()}
            wrong = malformed(path)
            scope, receive = request.scope, request.receive
            reply = await self._front.serve(self._route, path, wrong, scope, receive)
            if isinstance(reply, StreamingResponse):
                return _Streamed(reply)
            return Response(reply.body, reply.status, media_type=reply.media_type.decode())

        return handler


class _Streamed(Response):
    """A stream, sent as the front sends it."""

    def __init__(self, stream: StreamingResponse) -> None:
        super().__init__()
        self._stream = stream

    async def __call__(self, _: Any, receive: Any, send: Any) -> None:
        """Send it."""
        await send_stream(receive, send, self._stream)


def _documented(route: Route, front: Dispatcher) -> _Documented:
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
    return _Documented(
        route,
        front,
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
    described = Path(pattern=PATTERNS[name], description=_REF if name == "ref" else None)
    return _parameter(name, str, described, Parameter.empty)


def _parameter(name: str, kind: Any, described: Any, default: Any) -> Parameter:
    annotation = kind if described is None else Annotated[kind, described]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
