"""What a running daemon is made of: no FastAPI, and a collector that rests while it starts."""

import json
import signal
from pathlib import Path
from typing import Any

from tests.support.outside import Outside

ASKED = (
    ("GET", "/v1/openapi.json", 200), ("GET", "/v1/docs", 200), ("GET", "/v1/nothing", 404),
    ("POST", "/v1/host", 405), ("OPTIONS", "/v1/host", 405), ("HEAD", "/v1/docs", 405),
    ("GET", "/v1/%68ost", 200), ("GET", "/v1/domains", 200), ("GET", "/metrics", 200),
)  # fmt: skip


def test_no_framework_is_loaded(tmp_path: Path) -> None:
    """A daemon that has answered every kind of request never imported FastAPI or Starlette."""
    with Outside(tmp_path, "tests.support.loaded", is_first_start=True) as daemon:
        for method, path, status in ASKED:
            assert (method, path, status_of(daemon, method, path)) == (method, path, status)
        loaded = set(last_words(daemon)["packages"])
    assert {"maxmemd", "uvicorn", "pydantic", "prometheus_client"} <= loaded
    assert not loaded & {"fastapi", "starlette"}


def test_the_collector_rests_only_while_the_daemon_starts(tmp_path: Path) -> None:
    """What start-up made is out of its sight, and then it runs, seldom."""
    with Outside(tmp_path, "tests.support.loaded", is_first_start=True) as daemon:
        collector = last_words(daemon)["collector"]
    assert collector["is_on"]
    assert collector["frozen"] > 10_000
    assert collector["at"] == [50_000, 20, 1000]


def last_words(daemon: Outside) -> dict[str, Any]:
    """End the daemon, and return what it said on its standard output."""
    daemon.running.send_signal(signal.SIGTERM)
    said, _ = daemon.running.communicate(timeout=60)
    assert daemon.running.returncode == 0
    told: dict[str, Any] = json.loads(said)
    return told


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
