"""Render the OpenAPI document as one HTML page without scripts or external resources."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h2{border-top:1px solid #ccc;padding-top:1rem;font-size:1.1rem}
code,pre{font:14px/1.4 ui-monospace,monospace;background:#f5f5f5}pre{padding:.6rem;overflow:auto}
table{border-collapse:collapse}td,th{text-align:left;
padding:.15rem .8rem .15rem 0;vertical-align:top}
.m{display:inline-block;min-width:4.5rem;font-weight:bold}nav a{display:block}
"""


def page(document: Mapping[str, Any]) -> str:
    """Return the whole API as one HTML page."""
    operations = [
        (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    info = document["info"]
    links = "".join(
        f'<a href="#{one["operationId"]}"><code><span class="m">{method}</span> {escape(path)}'
        f"</code> {escape(one['summary'])}</a>"
        for method, path, one in operations
    )
    sections = "".join(_operation(*one) for one in operations)
    models = "".join(
        f'<h2 id="{escape(name)}">{escape(name)}</h2><p>{escape(model.get("description", ""))}</p>'
        f"<pre>{_linked(model)}</pre>"
        for name, model in sorted(document["components"]["schemas"].items())
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="referrer" content="no-referrer"><title>{escape(info["title"])}'
        f"</title><style>{_STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{escape(info['summary'])}. Every amount is an integer of KiB."
        f' For programs: <a href="/v1/openapi.json">/v1/openapi.json</a>.</p>'
        f"<nav>{links}</nav>{sections}<h1>Bodies</h1>{models}</html>"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}"
        f"<td>{escape(one.get('description', ''))}"
        for one in operation.get("parameters", ())
    )
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    takes = f"<p>Takes {_link(body['schema'])}</p>" if body else ""
    answers = "".join(
        f"<tr><td><code>{status}</code><td>{escape(one['description'])}<td>{_answer(one)}"
        for status, one in sorted(operation["responses"].items())
    )
    return (
        f'<h2 id="{operation["operationId"]}"><code><span class="m">{method}</span> {escape(path)}'
        f"</code></h2><p>{escape(operation['description'])}</p>"
        f"{f'<table>{rows}</table>' if rows else ''}{takes}<table>{answers}</table>"
    )


def _answer(response: Mapping[str, Any]) -> str:
    return ", ".join(_link(one["schema"]) for one in response.get("content", {}).values())


def _link(schema: Mapping[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    return f'<a href="#{escape(name)}">{escape(name)}</a>' if name else "text"


def _linked(model: Mapping[str, Any]) -> str:
    shown = {name: value for name, value in model.items() if name not in ("title", "description")}
    return escape(json.dumps(shown, indent=2))
