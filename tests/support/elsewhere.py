"""A daemon that is reached over TCP as well, with certificates for its clients."""

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from maxmemd.rest.tcp import _tls_context
from tests.support.certificates import make
from tests.support.outside import Outside

CONFIG = """
listen = "127.0.0.1:{port}"
tls_certificate = "{folder}/server.crt"
tls_key = "{folder}/server.key"
tls_clients = "{folder}/ca.crt"
hosts = ["dom0.example.org", "127.0.0.1"]
toolstacks = ["cert CN=xapi,O=Example"]
observers = ["cert CN=watcher"]
rates = {{ observer = 1000 }}
"""


@dataclass
class Elsewhere:
    """A daemon on the Unix socket and on TCP, and what clients need to reach it."""

    daemon: Outside
    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://127.0.0.1:{self.port}"

    def context(self, certificate: str = "") -> ssl.SSLContext:
        """Return a client's side of TLS."""
        files = {"cacert": str(self.folder / "ca.crt")}
        if certificate:
            files["cert"] = str(self.folder / f"{certificate}.pem")
        return _tls_context(files)

    def open(self, certificate: str = "") -> http.client.HTTPSConnection:
        """Open a connection."""
        context = self.context(certificate)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)

    def token(self, name: str, role: str) -> str:
        """Create a token over the Unix socket."""
        status, body = self.daemon.ask("POST", "/v1/tokens", {"name": name, "role": role})
        assert status == 200, body
        return str(body["token"])

    def token_file(self, name: str, role: str) -> str:
        """Create a token, and keep it in a file."""
        path = self.folder / f"{name}.token"
        path.write_text(self.token(name, role) + "\n")
        return str(path)


@contextmanager
def elsewhere(folder: Path) -> Iterator[Elsewhere]:
    """Run one with its files in a folder."""
    make(folder, "ca", "/CN=Test authority", ca=None)
    make(folder, "server", "/CN=dom0", san="IP:127.0.0.1,DNS:dom0.example.org")
    (folder / "server.key").chmod(0o600)
    make(folder, "xapi", "/CN=xapi/O=Example")
    make(folder, "watcher", "/CN=watcher")
    make(folder, "stranger", "/CN=stranger")
    make(folder, "liar", "/CN=xapi,O=Example")
    make(folder, "both-in-one", "/CN=xapi+O=Example")
    make(folder, "self", "/CN=watcher", ca=None)
    make(folder, "for-clients", "/CN=watcher", usage="clientAuth")
    make(folder, "for-servers", "/CN=watcher", usage="serverAuth")
    make(folder, "expired", "/CN=watcher", days=-1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "m.toml").write_text(CONFIG.format(port=port, folder=folder))
    options = ("serve", "--hypervisor", "simulated", "--config", str(folder / "m.toml"))
    with Outside(folder, options=options) as daemon:
        yield Elsewhere(daemon, folder, port)
