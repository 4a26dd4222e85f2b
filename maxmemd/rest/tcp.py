"""A connection to a daemon elsewhere: plain HTTP, or TLS with a token or a certificate."""

import ssl
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from maxmemd.rest.connection import DaemonConnection, Unreachable


def link_to(
    server: DaemonConnection, within_s: float
) -> tuple[HTTPConnection, str, dict[str, str]]:
    """Return a connection, what paths begin with there, and the header that carries the token.

    Raises Unreachable for a URL, a token or a certificate that cannot be used.
    """
    try:
        parts = urlsplit(str(server.url))
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise Unreachable(f"cannot use {server.url}: give http://HOST[:PORT] or https://...")
    prefix = parts.path.rstrip("/")
    if parts.scheme == "http":
        if server.files.keys() & {"token-file", "cert", "cacert"}:
            raise Unreachable(f"cannot use {server.url} with secrets: give https://...")
        return HTTPConnection(host, port, timeout=within_s), prefix, {}
    try:
        token, context = _token(server), _secured(server)
    except (OSError, ValueError) as why:
        raise Unreachable(f"cannot use the token or the certificates: {why}") from None
    return HTTPSConnection(host, port, timeout=within_s, context=context), prefix, token


def _token(server: DaemonConnection) -> dict[str, str]:
    if "token-file" not in server.files:
        return {}
    token = Path(server.files["token-file"]).read_text(encoding="ascii").strip()
    return {"Authorization": f"Bearer {token}"}


def _secured(server: DaemonConnection) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=server.files.get("cacert"))
    if "cert" in server.files:
        context.load_cert_chain(server.files["cert"])
    return context
