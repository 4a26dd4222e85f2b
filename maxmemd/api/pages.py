"""What the daemon says of its API: bytes made by `make openapi`, and served as they are."""

from pathlib import Path

from maxmemd.api.response import Response

HERE = Path(__file__).parent
OPENAPI, DOCS = HERE / "openapi.json", HERE / "docs.html"


def pages() -> dict[str, Response]:
    """Return the OpenAPI document and the docs page, by path."""
    return {
        "/v1/openapi.json": Response(200, OPENAPI.read_bytes()),
        "/v1/docs": Response(200, DOCS.read_bytes(), b"text/html; charset=utf-8"),
    }
