"""A request as it is sent, and the connection that it goes over."""

import secrets
from pathlib import Path
from typing import Any

import httpx

from maxmemd.client.calls import Call

TIMEOUT = httpx.Timeout(40.0, connect=3.0)
"""Seconds: a daemon that hangs is started anew by then."""


def settings(url: str | None, token_file: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return what a client of httpx's is made with."""
    base = {"base_url": url or "http://maxmemd", "timeout": TIMEOUT, "trust_env": url is not None}
    if token_file is not None:
        if not (url or "").startswith("https://"):
            raise ValueError("cannot send a token: give a url that begins with https://")
        token = Path(token_file).read_text(encoding="ascii").strip()
        options["headers"] = {**options.get("headers", {}), "Authorization": f"Bearer {token}"}
    return base | options


def request_of(
    http: httpx.Client | httpx.AsyncClient,
    ask: Call[Any],
    dry_run: bool,
    if_match: int | None,
    key: str | None,
) -> httpx.Request:
    """Return the request that an Ask is; a write has an Idempotency-Key, which tells it apart."""
    headers = {"Accept": "application/json"}
    if ask.method != "GET":
        headers["Idempotency-Key"] = key or secrets.token_hex(16)
    if if_match is not None:
        headers["If-Match"] = f'"{if_match}"'
    query: dict[str, Any] = ask.query | ({"dry_run": "true"} if dry_run else {})
    content = None if ask.body is None else ask.body.model_dump_json(exclude_none=True)
    if content is not None:
        headers["Content-Type"] = "application/json"
    return http.build_request(
        ask.method, ask.path, params=query or None, content=content, headers=headers
    )
