"""Fixtures: a stub daemon, and maxmemctl run against it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from maxmemd.cli import main
from maxmemd.rest import connection
from tests.support.stub import Stub

Ctl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Yield a stub daemon on a socket of its own."""
    with TemporaryDirectory() as place:
        server = Stub(str(Path(place) / "s"))
        yield server
        server.end()


@pytest.fixture
def ctl(stub: Stub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ctl:
    """Run maxmemctl with these words; return its exit status, stdout and stderr.

    It does not go on asking; what does has tests of its own (test_connection.py).
    """
    monkeypatch.setenv("MAXMEM_SOCKET", str(stub.server_address))
    monkeypatch.setattr(connection, "RETRY_S", 0.0)

    def run(*words: str) -> tuple[int, str, str]:
        status = main(list(words))
        out, err = capsys.readouterr()
        return status, out, err

    return run
