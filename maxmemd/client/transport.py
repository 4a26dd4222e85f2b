"""Make httpx's requests and the settings of its clients."""

import secrets
from pathlib import Path
from typing import Any

import httpx

from maxmemd.client.calls import Call
from maxmemd.rest.retry import CONNECT_S, REPLY_S

TIMEOUT = httpx.Timeout(REPLY_S, connect=CONNECT_S)


def settings(url: str | None, token_file: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of httpx.Client or httpx.AsyncClient."""
    base = {"base_url": url or "http://maxmemd", "timeout": TIMEOUT, "trust_env": url is not None}
    if token_file is not None:
        if not (url or "").startswith("https://"):
            raise ValueError("cannot send a token: give a url that begins with https://")
        token = Path(token_file).read_text(encoding="ascii").strip()
        options["headers"] = {**options.get("headers", {}), "Authorization": f"Bearer {token}"}
    return base | options


def request_of(
    http: httpx.Client | httpx.AsyncClient,
    call: Call[Any],
    dry_run: bool,
    if_match: int | None,
    key: str | None,
) -> httpx.Request:
    """Return the HTTP request of a call; a write gets an Idempotency-Key."""
    if not isinstance(call, Call):
        raise TypeError(
            f"cannot send {call!r}: give what a function of maxmemd.client.calls returns"
        )
    headers = {"Accept": "application/json"}
    if call.method != "GET":
        headers["Idempotency-Key"] = key or secrets.token_hex(16)
    if if_match is not None:
        headers["If-Match"] = f'"{if_match}"'
    query: dict[str, int | str] = {**call.query, **({"dry_run": "true"} if dry_run else {})}
    content = None if call.body is None else call.body.model_dump_json(exclude_none=True)
    if content is not None:
        headers["Content-Type"] = "application/json"
    return http.build_request(
        call.method, call.path, params=query or None, content=content, headers=headers
    )
