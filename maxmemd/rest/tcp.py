"""A connection to a daemon by its URL: plain HTTP, or TLS with a token or a certificate."""

import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from maxmemd.rest.reply import Unreachable


def connection_to(
    url: str | None, files: Mapping[str, str], timeout_s: float
) -> tuple[HTTPConnection, str, dict[str, str]]:
    """Return a connection, the prefix of all paths, and the header with the token if there is one.

    It is not connected yet. Raises Unreachable for an unusable URL, token or certificate.
    """
    try:
        parts = urlsplit(str(url))
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise Unreachable(f"cannot use {url}: give http://HOST[:PORT] or https://...")
    prefix = parts.path.rstrip("/")
    if parts.scheme == "http":
        if files.keys() & {"token-file", "cert", "cacert"}:
            raise Unreachable(f"cannot use {url} with secrets: give https://...")
        return HTTPConnection(host, port, timeout=timeout_s), prefix, {}
    try:
        token, context = _token_header(files), _tls_context(files)
    except (OSError, ValueError) as error:
        raise Unreachable(f"cannot use the token or the certificates: {error}") from None
    return HTTPSConnection(host, port, timeout=timeout_s, context=context), prefix, token


def _token_header(files: Mapping[str, str]) -> dict[str, str]:
    if "token-file" not in files:
        return {}
    token = Path(files["token-file"]).read_text(encoding="ascii").strip()
    return {"Authorization": f"Bearer {token}"}


def _tls_context(files: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.get("cacert"))
    # As before Python 3.13, which refuses authorities without key usage (as of `openssl req -x509`)
    # and trusts an intermediate alone: the same files are valid on each Debian.
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST
    if "cert" in files:
        try:
            context.load_cert_chain(files["cert"])
        except ssl.SSLError as error:
            why = error.reason or "it has no certificate with its key, PEM"
            raise ValueError(
                f"{files['cert']}: {why} (give a certificate and its own key)"
            ) from None
    return context
