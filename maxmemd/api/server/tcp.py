"""Listen on TCP, always with TLS 1.3; off unless `listen` is configured."""

import os
import socket
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from maxmemd.config.settings import Config
from maxmemd.errors import ConfigError
from maxmemd.files import open_regular

BACKLOG = 128


@dataclass(frozen=True, slots=True)
class TcpListener:
    """A bound TCP socket and the TLS context of its connections."""

    sock: socket.socket
    context: ssl.SSLContext


def listen_tcp(config: Config) -> TcpListener | None:
    """Return the configured TCP listener; None if there is none. Raises ConfigError."""
    context = check_usable(config)
    return None if context is None else TcpListener(_bind(config.listen), context)


def check_usable(config: Config) -> ssl.SSLContext | None:
    """Return the TLS context of TCP connections; None if TCP is off.

    Raises ConfigError for files that are missing or do not fit together.
    """
    if not config.listen or config.tls_certificate is None or config.tls_key is None:
        return None
    return tls_context(config.tls_certificate, config.tls_key, config.tls_clients)


def tls_context(certificate: Path, key: Path, clients: Path | None) -> ssl.SSLContext:
    """Return the server's TLS context; with `clients`, client certificates are verified.

    A client without one may still send a token. No session is resumed: a ticket is good for two
    hours, whatever has become of the certificate meanwhile. Raises ConfigError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET  # with tickets, only how they are kept
    _check_readable("tls_certificate", certificate)
    if _check_readable("tls_key", key) & stat.S_IRWXO:
        detail = f"cannot trust tls_key {key}: every user may use it (chmod o= {key})"
        raise ConfigError(detail, "tls_key")
    try:
        context.load_cert_chain(certificate, key, password="")  # else it prompts for a passphrase
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
    """Return a file's mode. Raises ConfigError if it cannot be read."""
    try:
        with open_regular(path) as file:
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
