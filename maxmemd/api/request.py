"""Read and check a request."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from maxmemd.api.asgi import Headers, Receive, Scope
from maxmemd.api.auth.peers import Peer
from maxmemd.api.problems import Rejected
from maxmemd.api.response import JSON
from maxmemd.policy.roles import Bond
from maxmemd.wire.requests import FORMS

MOST_BODY_BYTES = 64 * 1024

_ETAG = re.compile(r'"(\d{1,15})"')
_HOST = re.compile(rb"[A-Za-z0-9_-]*(:\d{1,5})?")
_KEY = re.compile(r"[!-~]{1,128}")


class Request(NamedTuple):
    """A valid request. `path` holds the decoded path parameters.

    `bond` is the only domain that the caller may touch, None if it may touch all.
    """

    peer: Peer
    path: Mapping[str, str]
    body: Any
    query: Mapping[str, str]
    if_match: int | None
    key: str | None
    after: str | None = None
    """Last-Event-ID."""
    accept: str = ""
    bond: Bond | None = None

    @property
    def ref(self) -> str:
        """The domain in the path: a domid, a UUID or a name."""
        return self.path["ref"]

    @property
    def dry_run(self) -> bool:
        """Whether the request is only to be decided, not carried out."""
        return self.query.get("dry_run") == "true"

    def number(self, name: str, default: int | None, most: int) -> int | None:
        """Return a number from the query. Raises Rejected."""
        text = self.query.get(name)
        if text is None:
            return default
        digits = text.isascii() and text.isdigit() and len(text) < 20
        if not digits or not 1 <= int(text) <= most:
            detail = f"cannot read the query: {name} is a number from 1 to {most}"
            raise Rejected("query-invalid", detail, parameter=name)
        return int(text)


async def read_request(
    scope: Scope,
    receive: Receive,
    path: Mapping[str, str],
    model: type[BaseModel] | None,
    allowed: frozenset[str],
) -> Request:
    """Read an ASGI request; `allowed` are its query parameters.

    Raises Rejected for anything that does not match the OpenAPI document.
    """
    if_match, key, media_type, after, accept = _headers(scope["headers"])
    query = _query(scope["query_string"], allowed) if scope["query_string"] else {}
    body = None
    if model is not None:
        if media_type.split(b";")[0].strip().lower() != JSON:
            detail = "cannot read the body: send it as Content-Type: application/json"
            raise Rejected("media-type-unsupported", detail)
        body = _body(model, await _read(receive))
    peer = scope["maxmemd.peer"]
    key = None if key is None else peer.stored_key(key)
    return Request(peer, path, body, query, if_match, key, after, accept)


def _headers(headers: Headers) -> tuple[int | None, str | None, bytes, str | None, str]:
    """Return If-Match, Idempotency-Key, Content-Type, Last-Event-ID and Accept.

    Raises Rejected for a malformed one, and for headers that only a browser sends.
    """
    if_match, key, media_type, after, accept = None, None, b"", None, ""
    for name, value in headers:
        if name == b"content-type":
            media_type = value
        elif name == b"if-match":
            found = _ETAG.fullmatch(value.decode("latin-1"))
            if found is None or if_match is not None:
                detail = 'cannot read If-Match: write a revision in quotes, like "7"'
                raise Rejected("header-invalid", detail, header="If-Match")
            if_match = int(found[1])
        elif name == b"idempotency-key":
            twice, key = key is not None, value.decode("latin-1")
            if twice or not _KEY.fullmatch(key):
                detail = "cannot read Idempotency-Key: write 1 to 128 printable ASCII characters"
                raise Rejected("header-invalid", detail, header="Idempotency-Key")
        elif name == b"last-event-id":
            after = value.decode("latin-1")
        elif name == b"accept":
            accept = value.decode("latin-1")
        else:
            refuse_browser(name, value)
    return if_match, key, media_type, after, accept


def refuse_browser(name: bytes, value: bytes) -> None:
    """Refuse headers that only browsers send, so that no web page can use its visitor's rights.

    A Host with a dot is a site whose DNS points here. Raises Rejected.
    """
    if name in (b"origin", b"referer"):
        detail = "cannot serve a browser: requests with Origin or Referer are refused"
        raise Rejected("browser-refused", detail, header=name.decode().capitalize())
    if name == b"host" and not _HOST.fullmatch(value):
        detail = "cannot serve a browser: Host must be localhost, or a name without a dot"
        raise Rejected("browser-refused", detail, header="Host")


def _query(raw: bytes, allowed: frozenset[str]) -> dict[str, str]:
    """Return the query. Unknown parameters are refused, so that a typo never takes effect."""
    query: dict[str, str] = {}
    for name, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
        if name not in allowed or name in query:
            names = ", ".join(sorted(allowed)) or "none"
            detail = "cannot read the query: a parameter is unknown or given twice"
            raise Rejected("query-invalid", f"{detail} (known here: {names})", parameter=name)
        query[name] = value
    if query.get("dry_run", "true") not in ("true", "false"):
        detail = "cannot read the query: dry_run is true or false"
        raise Rejected("query-invalid", detail, parameter="dry_run")
    return query


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more and len(body) <= MOST_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Rejected("json-invalid", "cannot read the body: it is incomplete")
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if len(body) > MOST_BODY_BYTES:
        detail = f"cannot take a body of more than {MOST_BODY_BYTES} bytes"
        raise Rejected("body-too-large", detail, at_most_bytes=MOST_BODY_BYTES)
    return body


def _body(model: type[BaseModel], raw: bytes) -> BaseModel:
    """Parse and check a body. Errors never echo it: it may not even be JSON."""
    try:
        return model.__pydantic_validator__.validate_json(raw)  # type: ignore[no-any-return]
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            large = "out of range" in found[0]["msg"]
            why = "a number in it is too large" if large else "it is not JSON"
            raise Rejected("json-invalid", f"cannot read the body: {why}") from None
        errors = [
            {"field": ".".join(str(part) for part in one["loc"]), "message": _message(one)}
            for one in found[:20]
        ]
        first = f"{errors[0]['field'] or 'body'}: {errors[0]['message']}"
        raise Rejected("body-invalid", f"cannot use the body: {first}", errors=errors) from None


def _message(error: ErrorDetails) -> str:
    """Return what is wrong with one field; the bounds in words, and never a pattern."""
    bounds = error.get("ctx") or {}
    unit = " KiB" if error["loc"] and str(error["loc"][-1]).endswith("_kib") else ""
    match error["type"]:
        case "less_than":
            return f"it is too large, the most is {bounds['lt'] - 1}{unit}"
        case "less_than_equal":
            return f"it is too large, the most is {bounds['le']}{unit}"
        case "greater_than":
            return f"it is too small, the least is {bounds['gt'] + 1}{unit}"
        case "greater_than_equal":
            return f"it is too small, the least is {bounds['ge']}{unit}"
        case "string_pattern_mismatch":
            return FORMS[bounds["pattern"]]
    return error["msg"]
