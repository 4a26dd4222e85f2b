"""SIGTERM ends the daemon beside whatever does not end, and what was confirmed is kept.

Nothing here is timed: what a stop could wait for never ends in these tests.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.audit import audit
from tests.support.http import UnixConnection
from tests.support.process import ROOT
from tests.support.stand import Stand
from tests.support.until import until

AMOUNT = {"amount_kib": 4096}


def path_of(stand: Stand, name: str) -> str:
    """Return the path of a component."""
    return f"/v1/domains/{stand.uuids[0]}/components/device-model/{name}"


def put(stand: Stand, name: str) -> int:
    """Ask for a component; return the status."""
    with stand.client() as client:
        return int(client.ask("PUT", path_of(stand, name), AMOUNT).status)


def components(stand: Stand, database: Path) -> set[str]:
    """Return the components that a database alone has of the domain, without a file beside it."""
    alone = stand.directory / "alone.sqlite"
    shutil.copy(database, alone)
    kept = audit(alone)
    found: Any = kept.records[stand.uuids[0]]
    return {name for owner, name in found.components if owner == "device-model"}


@pytest.mark.parametrize("held", ["check", "pool"])
def test_nothing_that_reads_holds_a_stop(held: str) -> None:
    """Neither a check that rests for an hour nor a pool of threads that all wait for ever."""
    with Stand() as stand:
        stand.serving = ["tests.support.serve_held"]
        stand.before = ["env", f"HELD={held}"]
        stand.start()
        until("it is held", lambda: f"held: the {held}" in stand.said())
        assert put(stand, "rom") == 200
        assert stand.stop() == 0
        assert "the history's chain" not in stand.said()
        assert components(stand, stand.database) == {"rom"}


def test_a_read_that_hangs_is_answered_and_holds_no_stop() -> None:
    """Its client may ask the next daemon; the thread that reads is left behind."""
    with Stand() as stand:
        stand.serving = ["tests.support.serve_held"]
        stand.before = ["env", "HELD=read"]
        stand.start()
        assert put(stand, "rom") == 200
        connection = UnixConnection(stand.socket)
        connection.request("GET", f"/v1/domains/{stand.uuids[0]}/history")
        until("it is held", lambda: "held: the read" in stand.said())
        assert stand.stop() == 0
        reply = connection.getresponse()
        assert (reply.status, json.loads(reply.read())["code"]) == (503, "arbiter-busy")
        connection.close()
        assert components(stand, stand.database) == {"rom"}


def test_after_a_stop_the_database_alone_is_whole() -> None:
    """A copy of ledger.sqlite is a backup then, and its WAL is gone."""
    with Stand() as stand:
        stand.start()
        assert put(stand, "rom") == 200
        assert stand.stop() == 0
        assert components(stand, stand.database) == {"rom"}
        beside = {path.name for path in stand.directory.glob("ledger.sqlite-*")}
        assert beside == {"ledger.sqlite-high-water"}


def children_of(pid: int) -> list[int]:
    """Return the child processes of a process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def state_of(pid: int) -> str:
    """Return the state of a process, "" if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def stand_still(pid: int) -> None:
    """Stop a process, and return when it stands still."""
    os.kill(pid, signal.SIGSTOP)
    until("it stands still", lambda: state_of(pid) == "T")


@contextmanager
def systemds_pusher(stand: Stand) -> Iterator[tuple[Path, int]]:
    """Give the socket and the process of a pusher that is not the daemon's child."""
    path = stand.directory / "pusher"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(8)
        words = ["-c", "import sys; from tests.support.serve_pusher import main; sys.exit(main())"]
        words += ["--fd", str(listener.fileno()), "--host", str(stand.host.path)]
        process = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, pass_fds=[listener.fileno()], stdin=subprocess.PIPE
        )
    try:
        yield path, process.pid
    finally:
        process.kill()
        process.communicate()


@contextmanager
def with_pusher(kind: str) -> Iterator[tuple[Stand, int]]:
    """Give a daemon that runs, and the process of its pusher."""
    with Stand() as stand:
        if kind == "child":
            stand.options = ["--separate"]
            stand.start()
            [pid] = children_of(stand.running.pid)
            yield stand, pid
        else:
            with systemds_pusher(stand) as (path, pid):
                stand.options = ["--pusher", str(path)]
                stand.start()
                yield stand, pid


@pytest.mark.parametrize("kind", ["child", "systemd's"])
def test_a_pusher_that_stands_still_holds_no_stop(kind: str) -> None:
    """The daemon ends while its pusher stands still; a child of its own it takes along."""
    with with_pusher(kind) as (stand, pusher):
        assert put(stand, "rom") == 200
        stand_still(pusher)
        assert stand.stop() == 0
        assert state_of(pusher) == ("" if kind == "child" else "T")
        assert components(stand, stand.database) == {"rom"}


@pytest.mark.parametrize("kind", ["child", "systemd's"])
def test_a_wish_that_waits_for_it_is_answered(kind: str) -> None:
    """Xen cannot be asked, and the client hears so before its connection ends; nothing is kept."""
    with with_pusher(kind) as (stand, pusher):
        assert put(stand, "rom") == 200
        stand_still(pusher)
        connection = UnixConnection(stand.socket)
        body = json.dumps(AMOUNT)
        connection.request(
            "PUT", path_of(stand, "late"), body, {"Content-Type": "application/json"}
        )
        until("the daemon has read it", lambda: unread(connection.sock) == 0)
        assert stand.stop() == 0
        reply = connection.getresponse()
        assert (reply.status, json.loads(reply.read())["code"]) == (503, "xen-failed")
        connection.close()
        assert components(stand, stand.database) == {"rom"}


def unread(connection: socket.socket) -> int:
    """Return how much of what was sent the other side has not read yet (SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
