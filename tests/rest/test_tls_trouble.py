"""A certificate problem is reported as what it is, by maxmemctl's client and by httpx's."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from maxmemd import client
from maxmemd.cli import main
from maxmemd.client import calls
from maxmemd.rest.connection import DaemonConnection
from maxmemd.rest.reply import Unreachable
from maxmemd.rest.tcp import _tls_context
from maxmemd.rest.tls_trouble import tls_trouble
from tests.support.certificates import make, needs_openssl
from tests.support.elsewhere import elsewhere

REPLY = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with certificates of two authorities."""
    made = tmp_path_factory.mktemp("certificates")
    for name in ("ca", "stranger"):
        make(made, name, f"/CN={name}", ca=None)
    make(made, "here", "/CN=here", san="IP:127.0.0.1")
    make(made, "elsewhere", "/CN=elsewhere", san="DNS:elsewhere")
    make(made, "unknown", "/CN=unknown", ca="stranger")
    certificate, key = (made / "here.crt").read_text(), (made / "unknown.key").read_text()
    (made / "mixed.pem").write_text(certificate + key)
    return made


@contextmanager
def served(folder: Path, certificate: str | None, *, demands: bool = False) -> Iterator[int]:
    """Serve on loopback, with TLS if there is a certificate; yield the port."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / f"{certificate}.pem")
        if demands:
            context.load_verify_locations(folder / "ca.crt")
            context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with suppress(OSError), connection:
                    connection.settimeout(20)
                    if context is None:
                        connection.recv(65536)
                        connection.sendall(REPLY)
                        continue
                    with context.wrap_socket(
                        connection, server_side=True, do_handshake_on_connect=False
                    ) as secured:
                        secured.settimeout(20)
                        try:
                            secured.do_handshake()
                            secured.recv(65536)
                            secured.sendall(REPLY)
                        except ssl.SSLError:  # let the client read the alert before a reset
                            while socket.socket.recv(secured, 65536):
                                pass

    thread = threading.Thread(target=answer)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


CASES = [
    ("here", {}, False, "give .* the CA that signed tls_certificate"),
    ("here", {"cacert": "stranger.crt"}, False, "give .* the CA that signed tls_certificate"),
    ("elsewhere", {"cacert": "ca.crt"}, False, "use a name that is in tls_certificate"),
    ("here", {"cacert": "ca.crt"}, True, "refuses the client's certificate: certificate required"),
    ("here", {"cacert": "ca.crt", "cert": "unknown.pem"}, True, "signed by one of tls_clients"),
    (None, {"cacert": "ca.crt"}, False, "it does not speak TLS there"),
]


@needs_openssl
@pytest.mark.parametrize(("certificate", "files", "demands", "said"), CASES)
def test_what_is_wrong_is_said(
    folder: Path, certificate: str | None, files: dict[str, str], said: str, *, demands: bool
) -> None:
    """By both clients, at once, and neither asks whether the daemon is running."""
    paths = {name: str(folder / file) for name, file in files.items()}
    with served(folder, certificate, demands=demands) as port:
        url = f"https://127.0.0.1:{port}"
        with pytest.raises(Unreachable, match=said) as of_cli:
            DaemonConnection("", url, paths, retry_s=0).ask("GET", "/v1/health")
        asking = client.Client(url=url, verify=_tls_context(paths))
        with asking, pytest.raises(client.Unreachable, match=said) as of_library:
            asking.do(calls.health())
    for raised in (of_cli, of_library):
        assert "is it running" not in str(raised.value)


@needs_openssl
def test_an_authority_without_key_usage_is_trusted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.13 refuses it by default: the same certificates are valid with each Python."""
    default = ssl.create_default_context

    def create_default_context(*, cafile: str) -> ssl.SSLContext:
        context = default(cafile=cafile)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", create_default_context)
    context = _tls_context({"cacert": str(folder / "ca.crt")})
    with (
        served(folder, "here") as port,
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        assert secured.getpeercert()


@needs_openssl
def test_a_key_of_another_certificate(folder: Path) -> None:
    """The file is named, and what it should have."""
    files = {"cert": str(folder / "mixed.pem")}
    with pytest.raises(Unreachable, match=r"mixed\.pem: KEY_VALUES_MISMATCH \(give a certificate"):
        DaemonConnection("", "https://127.0.0.1:9", files, retry_s=0).ask("GET", "/v1/health")


@pytest.mark.parametrize(
    ("code", "said"),
    [(10, "renew tls_certificate"), (9, "compare the clocks"), (64, "use a name that is in")],
)
def test_a_certificate_of_another_time(code: int, said: str) -> None:
    """Nothing that the client gives would help: the daemon has to be configured."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "no"
    wrapped = OSError("cannot connect")
    wrapped.__cause__ = error
    assert said in str(tls_trouble(wrapped))


@needs_openssl
def test_plain_http_to_the_daemons_tls_port_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By every client, at once: the daemon answers what a library for TLS would only cut off."""
    with elsewhere(tmp_path) as far:
        url = f"http://127.0.0.1:{far.port}"
        for words in ("list", "watch", "mem-max web 700", "health"):
            assert main(["--url", url, *words.split()]) == 1
            assert "port that speaks TLS (give https://)" in capsys.readouterr().err
        with client.Client(url=url) as asking, pytest.raises(client.Refused, match="give https://"):
            asking.do(calls.health())


@needs_openssl
def test_plain_http_to_what_is_not_ours(folder: Path) -> None:
    """A server that answers with an alert: the hint is ours."""
    with alerting() as port, pytest.raises(Unreachable, match=r"does it serve https://\?"):
        DaemonConnection("", f"http://127.0.0.1:{port}", {}, retry_s=0).ask("GET", "/v1/health")


@contextmanager
def alerting() -> Iterator[int]:
    """Answer one connection with TLS's alert, as many servers do; yield the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")

    thread = threading.Thread(target=answer)
    thread.start()
    yield listener.getsockname()[1]
    thread.join()
    listener.close()


def test_what_is_not_about_tls() -> None:
    """A refused connection, or one that was cut, is none of its business."""
    for error in (ConnectionRefusedError(), ssl.SSLEOFError(), ValueError()):
        assert tls_trouble(error) is None
