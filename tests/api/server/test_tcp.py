"""TCP: TLS with certificates or tokens, and nothing without; who is who; revoked at once."""

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from maxmemd.api.auth.admission import Admission, AdmissionRules
from maxmemd.api.auth.peers import Peer, certificate_peer, token_peer
from maxmemd.api.auth.token_store import TokenStore
from maxmemd.api.server.tcp import listen_tcp, tls_context
from maxmemd.cli import main
from maxmemd.client import Client, Refused, calls
from maxmemd.config.settings import Config
from maxmemd.errors import ConfigError
from maxmemd.policy.roles import Role, Roles
from maxmemd.wire.requests import LimitRequest
from tests.support.certificates import make, needs_openssl
from tests.support.elsewhere import Elsewhere, elsewhere
from tests.support.inside import Inside, problem

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    """Give a daemon that listens on TCP too."""
    with elsewhere(tmp_path_factory.mktemp("far")) as found:
        yield found


def ask(
    link: http.client.HTTPConnection, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    """Send one request on a connection."""
    data = None if body is None else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if data is not None:
        named["Content-Type"] = "application/json"
    link.request(method, path, data, named)
    reply = link.getresponse()
    if reply.status == 401:
        assert reply.headers["www-authenticate"] == "Bearer"
    return reply.status, json.loads(reply.read())


ROMS = "/v1/domains/1/components/device-model/roms"


@pytest.mark.parametrize(
    ("certificate", "expected"),
    [
        ("xapi", [200, 200, 403, 403]),
        ("watcher", [200, 403, 403, 403]),
        ("stranger", [401, 401, 401, 401]),
        ("liar", [401, 401, 401, 401]),
        ("both-in-one", [401, 401, 401, 401]),
        ("", [401, 401, 401, 401]),
    ],
)
def test_certificates(far: Elsewhere, certificate: str, expected: list[int]) -> None:
    """The subject's role counts; a subject that only looks like another's has none."""
    link = far.open(certificate)
    found = [
        ask(link, "GET", "/v1/domains/1")[0],
        ask(link, "PUT", ROMS, {"amount_kib": 64})[0],
        ask(link, "POST", "/v1/domains/1/rollback", {"revision": 1})[0],
        ask(link, "GET", "/v1/tokens")[0],
    ]
    assert found == expected
    link.close()


def test_a_certificate_that_is_for_clients(far: Elsewhere) -> None:
    """It is as good as one that does not say what it is for."""
    link = far.open("for-clients")
    assert ask(link, "GET", "/v1/domains/1")[0] == 200
    link.close()


@pytest.mark.parametrize("certificate", ["self", "for-servers", "expired"])
def test_a_certificate_that_is_not_valid_for_this(far: Elsewhere, certificate: str) -> None:
    """The handshake fails: no request of it is read."""
    link = far.open(certificate)
    with pytest.raises((ConnectionError, ssl.SSLError)):
        ask(link, "GET", "/v1/health")


@pytest.mark.parametrize("certificate", ["xapi", ""])
def test_no_session_is_resumed(far: Elsewhere, certificate: str) -> None:
    """Each connection shows its certificate: there is no ticket that would stand for it."""
    context, session = far.context(certificate), None
    for _ in range(2):
        plain = socket.create_connection(("127.0.0.1", far.port), timeout=20)
        with context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as link:
            link.sendall(b"GET /v1/host HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while link.recv(65536):
                pass
            session = link.session
            assert session is not None
            assert (session.has_ticket, link.session_reused) == (False, False)


def test_plain_and_old(far: Elsewhere) -> None:
    """Without TLS the answer says only that this is TLS; with an old one there is none."""
    plain = http.client.HTTPConnection("127.0.0.1", far.port, timeout=20)
    for method, body in (("GET", None), ("DELETE", None), ("PUT", {"max_mem_kib": 4})):
        status, told = ask(plain, method, "/v1/domains/1/limit", body)
        assert (status, told["code"]) == (400, "request-invalid")
        assert told["detail"].endswith("to a port that speaks TLS (give https://)")
    context = far.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    link = http.client.HTTPSConnection("127.0.0.1", far.port, timeout=20, context=context)
    with pytest.raises(ssl.SSLError):
        ask(link, "GET", "/v1/health")


def test_tokens(far: Elsewhere) -> None:
    """A token has its role, wherever it comes from; who used it is in the history."""
    for role, expected in (("observer", [200, 403, 403]), ("toolstack", [200, 200, 403]),
                           ("admin", [200, 200, 409])):  # fmt: skip
        link, token = far.open(), far.token(f"t-{role}", role)
        with_token = {"Authorization": f"Bearer {token}"}
        found = [
            ask(link, "GET", "/v1/domains/1", **with_token)[0],
            ask(link, "PUT", ROMS, {"amount_kib": 64 + len(role)}, **with_token)[0],
            ask(link, "PUT", "/v1/domains/1/components/toolstack/slack", {"amount_kib": 4},
                **with_token)[0],
        ]  # fmt: skip
        assert found[:2] == expected[:2], role
        assert ask(link, "GET", "/v1/tokens", **with_token)[0] == 403
        assert ask(link, "POST", "/v1/tokens", {"name": "x", "role": "admin"}, **with_token)[0] == (
            403
        )
        link.close()
    lines = far.daemon.ask("GET", "/v1/domains/1/history")[1]["entries"]
    by = [line["by"] for line in lines if line["kind"] == "component-set"]
    assert by[0] == {"name": "token t-admin", "uid": None, "gid": None, "pid": None}


def test_a_token_is_revoked_at_once(far: Elsewhere) -> None:
    """The next request on the same, open connection is refused; a new token of the name works."""
    token, link = far.token("soon", "observer"), far.open()
    shown = {"Authorization": f"Bearer {token}"}
    assert ask(link, "GET", "/v1/host", **shown)[0] == 200
    assert far.daemon.ask("DELETE", "/v1/tokens/soon")[0] == 200
    status, body = ask(link, "GET", "/v1/host", **shown)
    assert (status, body["code"]) == (401, "token-invalid")
    again = far.token("soon", "observer")
    assert ask(link, "GET", "/v1/host", **shown)[0] == 401
    assert ask(link, "GET", "/v1/host", Authorization=f"bearer {again}")[0] == 200
    link.close()


def test_a_path_that_is_written_oddly(far: Elsewhere) -> None:
    """A token is asked for once, however long a request's way to its route is."""
    link, token = far.open(), far.token("odd", "observer")
    shown = {"Authorization": f"Bearer {token}"}
    assert ask(link, "GET", "/v1/%68ost", **shown)[0] == 200
    assert ask(link, "GET", "/v1/%68ost")[0] == 401
    link.close()


def test_a_stream_ends_with_its_token(far: Elsewhere) -> None:
    """Revoked, or expired: an open stream gets no further event."""
    token, link = far.token("listens", "observer"), far.open()
    link.request("GET", "/v1/events", headers={"Authorization": f"Bearer {token}"})
    stream = link.getresponse()
    assert (stream.status, stream.readline()) == (200, b"retry: 1000\n")
    assert far.daemon.ask("DELETE", "/v1/tokens/listens")[0] == 200
    assert far.daemon.ask("PUT", ROMS, {"amount_kib": 76})[0] == 200
    assert b"event:" not in stream.read()
    link.close()


def test_whose_token_is_whose(tmp_path: Path) -> None:
    """A token of the same name, made later, does not keep its predecessor's stream alive."""
    tokens = TokenStore(tmp_path / "tokens.json")
    admission = Admission(AdmissionRules(Roles()), tokens=tokens)
    secret = tokens.create("a", "observer", "{}", 0)
    first = tokens.find(secret or "")
    assert first is not None
    assert admission.is_current(token_peer(first, "192.0.2.1"))
    assert not Admission(AdmissionRules(Roles())).is_current(token_peer(first, "192.0.2.1"))
    tokens.revoke("a")
    tokens.create("a", "observer", "{}", 0)
    assert not admission.is_current(token_peer(first, "192.0.2.1"))
    short = tokens.create("b", "observer", "{}", 0, expires_ns=time.time_ns() + 10**8)
    lent = token_peer(tokens.find(short or "") or first, "192.0.2.1")
    assert admission.is_current(lent)
    time.sleep(0.11)
    assert not admission.is_current(lent)


def test_one_of_both(far: Elsewhere) -> None:
    """A token beside a certificate is refused: they are never silently merged."""
    link, token = far.open("watcher"), far.token("both", "admin")
    status, body = ask(link, "GET", "/v1/host", Authorization=f"Bearer {token}")
    assert (status, body["code"]) == (401, "token-invalid")
    link.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("dom0.example.org", 200),
        ("DOM0.example.org:8443", 200),
        ("127.0.0.1", 200),
        ("localhost", 200),
        ("localhost:8443", 200),
        ("dom0", 403),
        ("evil", 403),
        ("", 403),
        ("evil.example.org", 403),
        ("dom0.example.org.evil", 403),
        ("dom0.example.org:8443:1", 403),
        ("dom0.example.org@evil", 403),
    ],
)
def test_names_of_the_host(far: Elsewhere, host: str, status: int) -> None:
    """Only the names that the configuration gives are ours: no site's name is pointed here."""
    link = far.open("watcher")
    link.putrequest("GET", "/v1/host", skip_host=True)
    link.putheader("Host", host)
    link.endheaders()
    assert link.getresponse().status == status
    link.close()


@pytest.mark.parametrize("name", ["Origin", "Referer"])
def test_browsers_are_refused_here_too(far: Elsewhere, name: str) -> None:
    """A browser that holds a certificate shows it to every page that asks."""
    link = far.open("watcher")
    for path in ("/v1/host", "/v1/docs") if name == "Origin" else ("/v1/host", "/v1/domains"):
        status, body = ask(link, "GET", path, **{name: "https://dom0.example.org"})
        assert (status, body["code"]) == (403, "browser-refused")
    link.close()


def test_the_client_and_maxmemctl(far: Elsewhere, capfd: pytest.CaptureFixture[str]) -> None:
    """Both reach it with a token file or a certificate, and say what is refused."""
    token = far.token_file("ctl", "toolstack")
    with Client(url=far.url, token_file=token, verify=far.context()) as client:
        granted = client.do(calls.set_limit("2", LimitRequest(max_mem_kib=3000 * 1024)))
        assert granted.revision > 0
    with Client(url=far.url, verify=far.context("watcher")) as client:
        assert client.do(calls.host()).simulated
        with pytest.raises(Refused) as refused:
            client.do(calls.set_limit("2", LimitRequest(max_mem_kib=3000 * 1024)))
        assert refused.value.code == "not-allowed"
    ca = ["--url", far.url, "--cacert", str(far.folder / "ca.crt")]
    assert main([*ca, "--token-file", token, "mem-max", "2", "3001"]) == 0
    assert main([*ca, "--cert", str(far.folder / "watcher.pem"), "domid", "db"]) == 0
    assert capfd.readouterr().out.endswith("2\n")
    assert main([*ca, "domid", "db"]) == 1
    assert main(["--url", far.url, "--token-file", token, "domid", "db"]) == 1
    assert "(give --cacert the CA that signed " in capfd.readouterr().err


def test_maxmemctl_token(far: Elsewhere, capfd: pytest.CaptureFixture[str]) -> None:
    """Create prints the token alone, list who has which, revoke ends it; all over the socket."""
    ctl = ["--socket", str(far.daemon.socket), "token"]
    assert main([*ctl, "create", "backup", "observer"]) == 0
    token = capfd.readouterr().out
    assert token.startswith("mxm_")
    assert len(token) > 40
    assert main([*ctl, "create", "backup", "observer"]) == 1
    assert "the name is taken" in capfd.readouterr().err
    assert main([*ctl, "list"]) == 0
    listed = capfd.readouterr().out
    assert any(line.split()[:2] == ["backup", "observer"] for line in listed.splitlines())
    kept = (far.daemon.database.parent / "ledger.sqlite-tokens.json").read_text()
    assert token.strip() not in listed + kept + far.daemon.said()
    assert "token backup, role observer, created by" in far.daemon.said()
    assert (
        far.daemon.database.parent / "ledger.sqlite-tokens.json"
    ).stat().st_mode & 0o777 == 0o600
    assert main([*ctl, "revoke", "backup"]) == 0
    assert main([*ctl, "revoke", "backup"]) == 1
    capfd.readouterr()
    assert main([*ctl, "list", "--json"]) == 0
    assert "backup" not in [one["name"] for one in json.loads(capfd.readouterr().out)["tokens"]]


def test_a_token_that_expires(far: Elsewhere, capfd: pytest.CaptureFixture[str]) -> None:
    """It is valid for its days, and then refused as what it is; days that are none are refused."""
    made = {"name": "lent", "role": "observer", "days": 2}
    status, body = far.daemon.ask("POST", "/v1/tokens", made)
    assert status == 200
    (row,) = [one for one in far.daemon.ask("GET", "/v1/tokens")[1]["tokens"]
              if one["name"] == "lent"]  # fmt: skip
    born, ends = (datetime.fromisoformat(row[name]) for name in ("created", "expires"))
    assert (ends - born, row["expires"]) == (timedelta(days=2), body["expires"])
    shown = {"Authorization": f"Bearer {body['token']}"}
    link = far.open()
    assert ask(link, "GET", "/v1/host", **shown)[0] == 200
    link.close()
    for days in (0, 3651, True, "5", 1.5, -1):
        refused = far.daemon.ask("POST", "/v1/tokens", {**made, "name": "x", "days": days})
        assert refused[1]["code"] == "body-invalid"

    far.daemon.stop()
    path = far.daemon.database.parent / "ledger.sqlite-tokens.json"
    kept = json.loads(path.read_text())
    for one in kept["tokens"]:
        if one["name"] == "lent":
            one["expires_ns"] = time.time_ns()
    path.write_text(json.dumps(kept))
    far.daemon.start()
    link = far.open()
    status, said = ask(link, "GET", "/v1/host", **shown)
    assert (status, said["code"]) == (401, "token-invalid")
    assert "it has expired" in said["detail"]
    link.close()
    ctl = ["--socket", str(far.daemon.socket), "token"]
    assert main([*ctl, "create", "lent", "observer", "--days", "1"]) == 0
    assert capfd.readouterr().out.startswith("mxm_")


@pytest.mark.long
def test_tokens_outlive_the_daemon(far: Elsewhere) -> None:
    """What was created is valid after a restart, what was revoked is not."""
    kept, gone = far.token("kept", "observer"), far.token("gone", "observer")
    far.daemon.ask("DELETE", "/v1/tokens/gone")
    far.daemon.stop()
    far.daemon.start()
    link = far.open()
    assert ask(link, "GET", "/v1/host", Authorization=f"Bearer {kept}")[0] == 200
    assert ask(link, "GET", "/v1/host", Authorization=f"Bearer {gone}")[0] == 401
    link.close()


def test_guessing_is_slow(tmp_path: Path) -> None:
    """An address without a valid token may make a few requests of any kind."""
    with Inside(tmp_path) as api:
        caller = certificate_peer("unknown", Role("nobody"), "tls 192.0.2.1", "192.0.2.1")
        codes = []
        for guess in range(40):
            shown = {"Authorization": f"Bearer mxm_{guess}"}
            codes.append(api.ask("GET", "/v1/health", headers=shown, peer=caller).status_code)
        assert codes[0] == 401
        assert codes[-1] == 429
        other = certificate_peer("unknown", Role("nobody"), "tls 192.0.2.2", "192.0.2.2")
        for path in ("/v1/health", "/v1/docs"):
            problem(api.ask("GET", path, peer=other), "token-invalid", 401)
        twice = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
        told = api.wait(_twice(api, other, twice))
        problem(told, "token-invalid", 401)


async def _twice(api: Inside, caller: Peer, headers: list[tuple[str, str]]) -> Any:
    api._peer = caller
    return await api.client.get("/v1/health", headers=headers)


def test_what_cannot_be_listened_with(tmp_path: Path) -> None:
    """Files that are missing, do not match, or are world-readable are named in an error."""
    make(tmp_path, "one", "/CN=one", ca=None)
    make(tmp_path, "two", "/CN=two", ca=None)
    one, key = tmp_path / "one.crt", tmp_path / "one.key"
    key.chmod(0o644)
    with pytest.raises(ConfigError, match=f"cannot trust tls_key {key}: every user may use it"):
        tls_context(one, key, None)
    key.chmod(0o600)
    other, locked, none = (tmp_path / name for name in ("two.key", "locked.key", "nowhere"))
    sealing = ("-aes256", "-passout", "pass:secret", "-out", str(locked))
    subprocess.run(["openssl", "ec", "-in", str(key), *sealing], capture_output=True, check=True)
    for path in (other, locked):
        path.chmod(0o600)
    os.mkfifo(fifo := tmp_path / "fifo")
    own = "write a certificate and its own key, both PEM, the key without a passphrase"
    for files, name, said in (
        ((one, other, None), "tls_certificate", own),
        ((one, locked, None), "tls_certificate", own),
        ((key, key, None), "tls_certificate", own),
        ((none, key, None), "tls_certificate", f"tls_certificate {none}: No such file"),
        ((one, none, None), "tls_key", f"tls_key {none}: No such file"),
        ((one, key, none), "tls_clients", f"tls_clients {none}: No such file"),
        ((one, key, tmp_path), "tls_clients", "not a regular file: write a file that the daemon"),
        ((fifo, key, None), "tls_certificate", f"tls_certificate {fifo}: it is not a regular file"),
        ((one, fifo, None), "tls_key", f"tls_key {fifo}: it is not a regular file"),
        ((one, key, fifo), "tls_clients", f"tls_clients {fifo}: it is not a regular file"),
        ((one, key, key), "tls_clients", "write a file of certificates, PEM"),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)) as refused:
            tls_context(*files)
        assert refused.value.key == name
    assert tls_context(one, key, one).verify_mode is ssl.CERT_OPTIONAL
    assert listen_tcp(Config()) is None
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        config = Config(listen=where, tls_certificate=one, tls_key=key)
        with pytest.raises(ConfigError, match=f"cannot listen on {where}: "):
            listen_tcp(config)
