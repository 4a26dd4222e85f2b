"""An arbiter that hangs is killed and restarted: no client of ours fails."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from maxmemd.cli import SIMULATED_HOST
from maxmemd.client import AsyncClient, Client, calls
from maxmemd.wire import replies, requests
from tests.support.audit import audit
from tests.support.preload import built
from tests.support.process import ROOT
from tests.support.until import until
from tests.system.interpose.conftest import Built, Ran
from tests.system.interpose.systemd import Watched

pytestmark = pytest.mark.needs("gcc", "libc6-dev")
HANGS_S = 300.0
ROMS = ("device-model", "roms")
MORE = requests.IncreaseRequest(by_kib=256)


@pytest.fixture(params=["in a hypercall", "on the disk"])
def stand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Watched]:
    """Give a watched daemon with six guests that will hang, once, as it does what is asked."""
    made = Watched(6)
    hang = tmp_path / "hang"
    made.environment = {"LD_PRELOAD": str(built("hangsync", tmp_path)), "HANG_SYNC": str(hang)}
    with made:
        if request.param == "on the disk":
            hang.touch()
        else:
            made.host.call("delay", "set_max_mem", HANGS_S)
        yield made
    assert not hang.exists()


def ctl(stand: Watched, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run maxmemctl."""
    command = [sys.executable, "-m", "maxmemd.cli", "--socket", str(stand.socket), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def sync(stand: Watched, ref: str) -> replies.DecisionReply:
    """Ask with a Client."""
    with Client(str(stand.socket)) as client:
        return client.do(calls.increase_component(ref, *ROMS, MORE), if_match=1)


def with_asyncio(stand: Watched, ref: str) -> replies.DecisionReply:
    """Ask with an AsyncClient."""

    async def doing() -> replies.DecisionReply:
        async with AsyncClient(str(stand.socket)) as client:
            return await client.do(calls.increase_component(ref, *ROMS, MORE), if_match=1)

    return asyncio.run(doing())


def in_c(stand: Watched, plain: Built, domid: int) -> Ran:
    """Ask as a device model that adds to the maximum by itself."""
    plain.socket = stand.socket
    return plain.run("bump", domid, 1, 132096 + 256, program="qemu-client")


def revisions(stand: Watched) -> list[int]:
    """Return at which revision each guest's record is."""
    kept = audit(stand.database, whole=False)
    return [kept.records[uuid].revision for uuid in stand.uuids]


@pytest.mark.long
def test_a_killed_arbiter_is_a_pause(stand: Watched, plain: Built) -> None:
    """Every client, of a write or a read, is answered in the end, and each wish counts once."""
    own = Built(plain.directory, conf="")
    increase = ("component-increase", "device-model/roms", "256k")
    with ThreadPoolExecutor(8) as pool:

        def begin(asks: Callable[..., Any], *of: object) -> Future[Any]:
            return pool.submit(asks, stand, *of)

        wrote = begin(ctl, increase[0], "--if-match", "1", "1", *increase[1:])
        tried = begin(ctl, increase[0], "--dry-run", "2", *increase[1:])
        asked, waited = begin(sync, "3"), begin(with_asyncio, "4")
        bumped = begin(in_c, own, 5)
        until("a wish hangs", lambda: not stand.is_ready())
        read = begin(ctl, "list"), begin(ctl, "mem-max", "6", "200")

    assert stand.kills > 0
    programs = [wrote.result(), tried.result(), *(each.result() for each in read)]
    assert [done.returncode for done in programs] == [0] * 4, programs
    simulated = f"maxmemctl: {SIMULATED_HOST}\n"
    said = [done.stderr.replace(simulated, "") for done in programs]
    told = [text for text in said if text]  # who came late had not long to wait
    assert told
    for line in told:
        assert line.startswith(f"maxmemctl: waiting for maxmemd at {stand.socket}: ")
        assert line.count("\n") == 1
    assert "nothing was changed" in tried.result().stdout
    for reply in (asked.result(), waited.result()):
        assert (reply.revision, reply.push and reply.push.state) == (2, "applied")
    assert (bumped.result().rc, bumped.result().xen) == (0, [])
    assert bumped.result().stderr == "" or "waiting for maxmemd" in bumped.result().stderr
    assert stand.agrees()
    assert revisions(stand) == [2, 1, 2, 2, 2, 2]
    kept = stand.kept()
    grown = [kept.records[uuid].limit.kib - 65 * 1024 for uuid in stand.uuids]
    assert grown == [256, 0, 256, 256, 256, 136 * 1024]
