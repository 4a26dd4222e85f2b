"""Where requests go, and that no reply is an error."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from maxmemd.client import AsyncClient, Client, Unreachable, calls
from tests.client.wire import BOTH, HEALTH, LIMIT, Do, Wire


@BOTH
@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.ConnectTimeout(""), httpx.ReadTimeout("")]
)
def test_no_reply_is_unreachable(error: Exception, do: Do, clock: list[float]) -> None:
    """Without a listener, or with silence: the error names the socket, and there is no retry."""
    line = Wire(error)
    with pytest.raises(Unreachable, match=r"at /run/maxmemd/maxmemd\.sock: "):
        do(line, LIMIT)
    assert len(line.sent) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_socket_without_a_listener_is_unreachable() -> None:
    """Over a real Unix socket that is not there; httpcore leaves closing it to the collector."""
    with TemporaryDirectory() as place:
        path = str(Path(place) / "s")
        with Client(path) as client, pytest.raises(Unreachable, match=path):
            client.do(calls.health())

        async def doing() -> None:
            async with AsyncClient(path) as client:
                await client.do(calls.health())

        with pytest.raises(Unreachable, match=path):
            asyncio.run(doing())


def test_a_url_replaces_the_socket() -> None:
    """Requests go to the URL's host and below its path."""
    line = Wire(HEALTH)
    with Client(url="https://xen.example/maxmem", transport=line.transport) as client:
        client.do(calls.health())
    assert str(line.sent[0].url) == "https://xen.example/maxmem/v1/health"
