"""One connection is accepted in each pass of the event loop; accepting pauses after EMFILE."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maxmemd.api.server import acceptor as doors
from maxmemd.api.server.acceptor import Acceptor


class Listening:
    """A listening socket, and how many are let in; it can be told to have no descriptor left."""

    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind(str(path))
        self._sock.listen(64)
        self._sock.setblocking(False)
        self.path, self.accepted = path, 0
        self.fails: list[int] = []

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._sock.fileno()

    def accept(self) -> tuple[socket.socket, Any]:
        """Let one in, or fail as told."""
        if self.fails:
            raise OSError(self.fails[0], "as told")
        found = self._sock.accept()
        self.accepted += 1
        return found

    def close(self) -> None:
        """Close it."""
        self._sock.close()

    def crowd(self, count: int) -> list[socket.socket]:
        """Connect so many, who wait to be let in."""
        found = []
        for _ in range(count):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(self.path))
            found.append(sock)
        return found


@pytest.fixture
def listening(tmp_path: Path) -> Any:
    """Give a listening socket."""
    found = Listening(tmp_path / "s")
    yield found
    found.close()


async def come_true(true: Callable[[], bool]) -> None:
    """Let the loop run until something is true."""
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not come true")


def test_one_in_a_pass(listening: Listening) -> None:
    """While many clients wait, each accepted one is served before the next is accepted."""

    async def come() -> None:
        acceptor = Acceptor(listening, asyncio.Protocol)  # type: ignore[arg-type]
        crowd = listening.crowd(20)
        turns = 0
        while listening.accepted < 20:
            before = listening.accepted
            await asyncio.sleep(0)
            assert listening.accepted <= before + 1
            turns += 1
        assert turns >= 20
        acceptor.close()
        await asyncio.sleep(0.05)
        late = listening.crowd(1)
        await asyncio.sleep(0.05)
        assert listening.accepted == 20
        for sock in crowd + late:
            sock.close()

    asyncio.run(come())


def test_no_descriptor_left(
    listening: Listening, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """None is accepted for a while, with one line in the log; then the waiting ones are."""
    monkeypatch.setattr(doors, "REST_S", 0.05)

    async def come() -> None:
        listening.fails.append(errno.EMFILE)
        acceptor = Acceptor(listening, asyncio.Protocol)  # type: ignore[arg-type]
        crowd = listening.crowd(3)
        await asyncio.sleep(0.02)
        assert listening.accepted == 0
        listening.fails.clear()
        await come_true(lambda: listening.accepted == 3)
        listening.fails.append(errno.EMFILE)
        crowd += listening.crowd(1)
        await asyncio.sleep(0.01)
        acceptor.close()
        listening.fails.clear()
        await asyncio.sleep(0.1)
        assert listening.accepted == 3
        for sock in crowd:
            sock.close()

    with caplog.at_level(logging.ERROR):
        asyncio.run(come())
    assert caplog.messages.count("cannot accept connections for 0 s: as told") == 2


def test_a_connection_that_ends_before_it_begins(
    listening: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be made a connection is closed with a line in the log; the next is let in."""

    async def come() -> None:
        class Gone(asyncio.Protocol):
            made = 0

            def __init__(self) -> None:
                Gone.made += 1
                if Gone.made == 1:
                    raise OSError(errno.ENOTCONN, "not connected")

        acceptor = Acceptor(listening, Gone)  # type: ignore[arg-type]
        crowd = listening.crowd(2)
        await come_true(lambda: Gone.made == 2)
        assert crowd[0].recv(1) == b""
        acceptor.close()
        for sock in crowd:
            sock.close()

    asyncio.run(come())
    assert caplog.messages == ["a connection closed before it was set up: not connected"]


def test_a_crowd_comes_in_at_a_pace(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few come in at once; of those behind them one after the other, and all in the end."""
    monkeypatch.setattr(doors, "EACH_S", 0.2)
    monkeypatch.setattr(doors, "BURST_S", 0.8)

    async def come() -> None:
        acceptor = Acceptor(listening, asyncio.Protocol)  # type: ignore[arg-type]
        crowd = listening.crowd(8)
        await come_true(lambda: listening.accepted >= 4)
        for _ in range(5):
            await asyncio.sleep(0)
        assert listening.accepted == 4
        await come_true(lambda: listening.accepted == 8)
        acceptor.close()
        for sock in crowd:
            sock.close()

    asyncio.run(come())
