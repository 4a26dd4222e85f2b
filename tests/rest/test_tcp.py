"""A daemon that is reached by a URL."""

import threading
from typing import Any

import pytest

from maxmemd.cli import main
from tests.support.bodies import HOST
from tests.support.stub import DROP, Stub


def test_over_a_url(capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon elsewhere is asked through http.client, with the same retry."""
    from http.server import ThreadingHTTPServer

    from tests.support.stub import Handler

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told: Any = server
        told.replies = {"GET /v1/host": [DROP, (200, HOST)]}
        told.seen, told.headers = [], []
        told.reply_to = lambda request: Stub.reply_to(told, request)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        assert main(["--url", url, "info", "total_memory"]) == 0
        server.shutdown()
    assert capsys.readouterr().out == "8190\n"


@pytest.mark.parametrize("url", ["ftp://host", "host", "http://", "http://127.0.0.1:1"])
def test_a_url_that_leads_nowhere(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says which."""
    assert main(["--url", url, "list"]) == 1
    err = capsys.readouterr().err
    assert (err.count("\n"), url in err) == (1, True)
