"""Time for the clients."""

from types import SimpleNamespace

import pytest

from maxmemd import client
from maxmemd.client import retry


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the time, which passes only while a client waits."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    async def sleeping(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(client.time, "sleep", sleep)
    monkeypatch.setattr(client, "asyncio", SimpleNamespace(sleep=sleeping))
    monkeypatch.setattr(retry, "monotonic", lambda: now[0])
    return now
