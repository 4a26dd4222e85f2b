"""What a running daemon has loaded: no framework that only describes its routes."""

import json
import signal
from pathlib import Path

from tests.support.outside import Outside

ASKED = (
    ("GET", "/v1/openapi.json", 200), ("GET", "/v1/docs", 200), ("GET", "/v1/nothing", 404),
    ("POST", "/v1/host", 405), ("OPTIONS", "/v1/host", 405), ("HEAD", "/v1/docs", 405),
    ("GET", "/v1/%68ost", 200), ("GET", "/v1/domains", 200), ("GET", "/metrics", 200),
)  # fmt: skip


def test_no_framework_is_loaded(tmp_path: Path) -> None:
    """A daemon that has answered every kind of request never imported FastAPI or Starlette."""
    with Outside(tmp_path, "tests.support.loaded") as daemon:
        assert [(method, path, status_of(daemon, method, path)) for method, path, _ in ASKED] == [
            *ASKED
        ]
        daemon.process.send_signal(signal.SIGTERM)
        said, _ = daemon.process.communicate(timeout=60)
        assert daemon.process.returncode == 0
    loaded = set(json.loads(said))
    assert {"maxmemd", "uvicorn", "pydantic", "prometheus_client"} <= loaded
    assert not loaded & {"fastapi", "starlette"}


def status_of(daemon: Outside, method: str, path: str) -> int:
    """Ask, and return the status."""
    connection = daemon.open()
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        reply.read()
        return reply.status
    finally:
        connection.close()
