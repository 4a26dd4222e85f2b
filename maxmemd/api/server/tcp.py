"""Listening on TCP: always with TLS 1.3; off unless the configuration says where."""

import os
import socket
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from maxmemd.config.settings import Config
from maxmemd.errors import ConfigError

BACKLOG = 128


@dataclass(frozen=True, slots=True)
class TcpListener:
    """A bound TCP socket, and what its connections are secured with."""

    sock: socket.socket
    context: ssl.SSLContext


def listen_tcp(config: Config) -> TcpListener | None:
    """Return what the configuration says of TCP; None where nothing is served there.

    Raises ConfigError.
    """
    context = check_usable(config)
    return None if context is None else TcpListener(_bind(config.listen), context)


def check_usable(config: Config) -> ssl.SSLContext | None:
    """Return what TCP connections are to be secured with; None where there are to be none.

    Raises ConfigError for files that are not there, or do not fit.
    """
    if not config.listen or config.tls_certificate is None or config.tls_key is None:
        return None
    return tls_context(config.tls_certificate, config.tls_key, config.tls_clients)


def tls_context(certificate: Path, key: Path, clients: Path | None) -> ssl.SSLContext:
    """Return the server's side of TLS; clients' certificates are checked where `clients` is given.

    A client without one may still show a token. Raises ConfigError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _check_readable("tls_certificate", certificate)
    if _check_readable("tls_key", key) & stat.S_IRWXO:
        detail = f"cannot trust tls_key {key}: everybody may use it (chmod o= {key})"
        raise ConfigError(detail, "tls_key")
    try:
        context.load_cert_chain(certificate, key, password="")  # nobody is there to be asked
    except ssl.SSLError as error:
        detail = f"cannot use tls_certificate {certificate} with tls_key {key}: {error}"
        instead = "write a certificate and its own key, both PEM, the key without a passphrase"
        raise ConfigError(f"{detail}: {instead}", "tls_certificate") from error
    if clients is not None:
        _check_readable("tls_clients", clients)
        try:
            context.load_verify_locations(clients)
        except ssl.SSLError as error:
            detail = f"cannot use tls_clients {clients}: {error}: write a file of certificates, PEM"
            raise ConfigError(detail, "tls_clients") from error
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _check_readable(name: str, path: Path) -> int:
    """Return the mode of a file that can be read. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mode
    except OSError as error:
        detail = f"cannot use {name} {path}: {error.strerror}"
        raise ConfigError(f"{detail}: write a file that the daemon may read", name) from error


def _bind(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host.strip("[]"), int(port)))
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot listen on {listen}: {error.strerror or error}") from error
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock
