"""SIGHUP: the configuration is read again by a daemon that goes on serving."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maxmemd.api.reload import Reload
from maxmemd.config.settings import Config
from tests.support.http import UnixConnection
from tests.support.outside import Outside, open_folder
from tests.support.until import until

HOST = "/v1/host"
LIMIT = "/v1/domains/web/limit"
UID = 41_234


class Reloading:
    """A daemon with a configuration file."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "maxmemd.toml"
        self.write('drift = "restore"')
        options = ["serve", "--hypervisor", "simulated", "--config", str(self.file)]
        self.daemon = Outside(directory, options=options)

    def write(self, *lines: str) -> None:
        """Write the configuration."""
        self.file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def reload(self, told: str) -> None:
        """Ask for it to be read again, and wait until the log tells of it."""
        self.daemon.process.send_signal(signal.SIGHUP)
        until("the daemon has read it", lambda: told in self.daemon.said(), within_s=20)

    @property
    def host(self) -> dict[str, Any]:
        """What the daemon says of itself."""
        found: dict[str, Any] = self.daemon.ask("GET", HOST)[1]
        return found


@pytest.fixture
def reloading(tmp_path: Path) -> Iterator[Reloading]:
    """Give a daemon whose configuration can be changed."""
    made = Reloading(tmp_path)
    with made.daemon:
        yield made


def test_what_is_written_counts_from_now_on(reloading: Reloading) -> None:
    """Rules and drift are taken, by the process that runs, over a connection that is open."""
    pid = reloading.daemon.process.pid
    connection = reloading.daemon.open()
    assert connection.ask("PUT", LIMIT, {"max_mem_kib": 1024})[0] == 409
    reloading.write('drift = "alert"', 'floor = "none"', "poll_s = 0.5")
    reloading.reload("drift is alert")
    assert (reloading.host["drift"], reloading.host["floor"]) == ("alert", "none")
    assert connection.ask("PUT", LIMIT, {"max_mem_kib": 1024})[0] == 200
    assert reloading.daemon.process.pid == pid
    connection.close()


def test_a_file_that_cannot_be_used_changes_nothing(reloading: Reloading) -> None:
    """A mistake is logged with its line; what was in force stays, and a later file is taken."""
    reloading.write('drift = "alert"', 'flor = "none"')
    reloading.reload("the configuration stays as it was")
    assert "maxmemd.toml:2: unknown key 'flor'" in reloading.daemon.said()
    assert reloading.host["drift"] == "restore"
    reloading.write('drift = "adopt"')
    reloading.reload("drift is adopt")
    assert reloading.host["drift"] == "adopt"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its uid")
def test_who_is_what_counts_on_open_connections_too() -> None:
    """Who has another role now has it from the next request on; what it listens to ends."""
    with open_folder() as folder:
        reloading = Reloading(folder)
        with reloading.daemon as daemon:
            daemon.socket.chmod(0o666)
            other, listener = (as_user(UID, daemon) for _ in range(2))
            assert other.ask("PUT", LIMIT, {"max_mem_kib": 2**21})[0] == 403
            listener.request("GET", "/v1/events")
            stream = listener.getresponse()
            assert stream.readline() == b"retry: 1000\n"
            reloading.write(f'toolstacks = ["uid {UID}"]', 'drift = "alert"')
            reloading.reload("drift is alert")
            assert b"event:" not in stream.read()
            assert other.ask("PUT", LIMIT, {"max_mem_kib": 2**21})[0] == 200
            reloading.write('default_role = "nobody"', 'drift = "adopt"')
            reloading.reload("drift is adopt")
            assert other.ask("GET", HOST)[0] == 403
            for link in (other, listener):
                link.close()


def as_user(uid: int, daemon: Outside) -> UnixConnection:
    """Return a connection that another user has opened."""
    link = daemon.open()
    os.seteuid(uid)
    try:
        link.connect()
    finally:
        os.seteuid(0)
    return link


def test_what_needs_a_restart_is_named(reloading: Reloading, tmp_path: Path) -> None:
    """A new place for the group of the socket waits for a restart, and the log says so."""
    reloading.write('drift = "alert"', 'socket_group = "daemon"')
    reloading.reload("socket_group stays '' until a restart")
    assert reloading.host["drift"] == "alert"


def test_a_configuration_that_is_never_read_to_its_end(reloading: Reloading) -> None:
    """A FIFO in its place is refused at once, and the daemon serves on; later files are taken."""
    reloading.file.unlink()
    os.mkfifo(reloading.file)
    reloading.reload("it is not a regular file")
    assert reloading.host["drift"] == "restore"
    reloading.file.unlink()
    reloading.write('drift = "adopt"')
    reloading.reload("drift is adopt")


class _Service:
    """What a reload changes, kept."""

    def __init__(self) -> None:
        self.config = Config()
        self.modes: list[str] = []
        self.event_stream = self.mailbox = self.admission = self

    def notify(self) -> None:
        """Do nothing."""

    def reconfigure(self, *_: object, **__: object) -> None:
        """Keep the mode that is in force."""
        self.modes.append(self.config.drift)


def test_a_configuration_that_hangs_holds_up_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is given up, and one that is asked for meanwhile is read once that has ended."""
    monkeypatch.setattr("maxmemd.api.reload.READ_WITHIN_S", 0.05)
    goes_on, begun = threading.Event(), threading.Semaphore(0)
    modes = iter(["alert", "alert", "adopt"])

    def read() -> Config:
        begun.release()
        goes_on.wait()
        return Config(drift=next(modes))

    async def reloads() -> list[str]:
        service: Any = _Service()
        reload = Reload(read, service, service)
        reload()
        await asyncio.to_thread(begun.acquire)
        assert reload._reading is not None
        await reload._reading
        reload()  # while the first one still hangs
        await reload._reading
        assert [message.count("stays as it was") for message in caplog.messages] == [1, 1]
        assert not begun.acquire(blocking=False)
        goes_on.set()
        while service.config.drift != "adopt":
            reload()
            await reload._reading
        return list(dict.fromkeys(service.modes))

    assert asyncio.run(reloads()) in (["adopt"], ["alert", "adopt"])


def test_reloads_that_come_together_are_one_more() -> None:
    """What was written after a read began is read as well, and no signal waits in a queue."""
    reads = 0

    def read() -> Config:
        nonlocal reads
        reads += 1
        return Config()

    async def reloads() -> None:
        service: Any = _Service()
        reload = Reload(read, service, service)
        for _ in range(20):
            reload()
        assert reload._reading is not None
        await reload._reading

    asyncio.run(reloads())
    assert reads == 1
