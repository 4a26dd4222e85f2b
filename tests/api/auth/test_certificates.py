"""Certificates of clients: what their subject is, and until when a connection may show them."""

import asyncio
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from maxmemd.api.auth.admission import Admission, AdmissionRules
from maxmemd.api.auth.certificates import subject_of, valid_until_s
from maxmemd.api.auth.peers import Peer, peer_of
from maxmemd.api.problems import Rejected
from maxmemd.api.server.tcp import tls_context
from maxmemd.policy.roles import Roles
from maxmemd.rest.tcp import _tls_context
from tests.support.certificates import make, needs_openssl

DAY_S = 86400.0
ROLES = Roles(subjects={"CN=xapi": "toolstack"})


def test_subjects() -> None:
    """A subject is one text, in order, and no value can look like two."""
    assert subject_of({"subject": ((("commonName", "a"),), (("organizationName", "b"),))}) == (
        "CN=a,O=b"
    )
    assert subject_of({"subject": ((("commonName", "a,O=b"),),)}) == r"CN=a\,O\=b"
    assert (
        subject_of({"subject": ((("commonName", "a"), ("organizationName", "b")),)}) == "CN=a+O=b"
    )
    assert subject_of({"subject": ((("commonName", "a+O=b"),),)}) == r"CN=a\+O\=b"
    assert subject_of({"subject": ((("title", "x"),),)}) == "title=x"
    assert subject_of({}) == ""


class _Server(asyncio.Protocol):
    """Keeps who has connected."""

    def __init__(self, came: asyncio.Future[Peer]) -> None:
        self.came = came

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Look."""
        self.came.set_result(peer_of(transport, ROLES))


async def connected(folder: Path) -> Peer:
    """Return who the server sees when a client connects with xapi's certificate."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[Peer] = loop.create_future()
    context = tls_context(folder / "server.crt", folder / "server.key", folder / "trusted.crt")
    server = await loop.create_server(lambda: _Server(came), "127.0.0.1", 0, ssl=context)
    files = {"cacert": str(folder / "trusted.crt"), "cert": str(folder / "xapi.pem")}
    mine = _tls_context(files)
    port = server.sockets[0].getsockname()[1]
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=mine)
    try:
        return await came
    finally:
        writer.close()
        server.close()


def made(folder: Path, leaf: int, between: int, root: int) -> None:
    """Make a root, an authority below it, and below that a server and xapi, valid so many days."""
    make(folder, "root", "/CN=Root", ca=None, days=root)
    make(folder, "ca", "/CN=Between", ca="root", days=between, is_ca=True)
    make(folder, "server", "/CN=dom0", san="IP:127.0.0.1")
    (folder / "server.key").chmod(0o600)
    make(folder, "xapi", "/CN=xapi", days=leaf)
    both = (folder / "root.crt").read_text() + (folder / "ca.crt").read_text()
    (folder / "trusted.crt").write_text(both)


@needs_openssl
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("days", [(2, 20, 200), (200, 2, 20), (20, 200, 2)])
def test_a_certificate_ends_with_the_first_of_its_chain(
    tmp_path: Path, days: tuple[int, int, int], run: Callable[..., Peer]
) -> None:
    """Its own end, its authority's, or that of the root above."""
    made(tmp_path, *days)
    found = run(connected(tmp_path))
    assert (found.client, found.role.name) == ("cert CN=xapi", "toolstack")
    assert 1.5 * DAY_S < found.valid_until_s - time.time() < 2.5 * DAY_S


@needs_openssl
def test_an_authority_that_was_renewed_ends_last(tmp_path: Path) -> None:
    """Of two of one name either may have signed; an unknown authority says nothing."""
    make(tmp_path, "ca", "/CN=Test", ca=None, days=2)
    old = (tmp_path / "ca.crt").read_text()
    make(tmp_path, "ca", "/CN=Test", ca=None, days=20)
    (tmp_path / "both.crt").write_text((tmp_path / "ca.crt").read_text() + old)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_verify_locations(tmp_path / "both.crt")
    leaf = {"notAfter": "Jan  1 00:00:00 2100 GMT", "issuer": ((("commonName", "Test"),),)}
    assert 19 * DAY_S < valid_until_s(leaf, context) - time.time() < 21 * DAY_S
    other = {**leaf, "issuer": ((("commonName", "Other"),),)}
    assert valid_until_s(other, context) == 4102444800.0


@needs_openssl
def test_an_open_connection_ends_with_its_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request on it is refused from then on, and a stream is no longer current."""
    made(tmp_path, 2, 20, 200)
    came = asyncio.run(connected(tmp_path))
    admission = Admission(AdmissionRules(ROLES), hosts=["localhost"])
    scope = {"maxmemd.peer": came, "headers": []}
    assert admission.identify(scope).role.name == "toolstack"
    assert admission.is_current(came)
    monkeypatch.setattr(time, "time", lambda: came.valid_until_s)
    with pytest.raises(Rejected) as refused:
        admission.identify(scope)
    assert refused.value.code == "certificate-expired"
    assert not admission.is_current(came)
