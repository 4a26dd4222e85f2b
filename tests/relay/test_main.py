"""`maxmemd relay` as a process: small, told to systemd, ended by a signal, described by --help."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maxmemd import __main__
from tests.relay.daemon import GRANTED, Held
from tests.relay.scene import Scene, command_of, notices
from tests.support.process import ROOT
from tests.support.stub import Stub
from tests.support.until import until

S, N = 21, 20
HEAVY = ("fastapi", "starlette", "uvicorn", "pydantic", "sqlalchemy", "alembic", "httpx", "uvloop",
         "asyncio", "ssl", "email", "http", "sqlite3", "ctypes", "prometheus_client")  # fmt: skip
TELLS = (
    "import json, sys; before = set(sys.modules); from maxmemd.__main__ import main;"
    "status = main(); print(json.dumps([status, sorted(set(sys.modules) - before)]))"
)


def test_it_imports_little(told: Scene, daemon: Stub) -> None:
    """A relay that has served a stub domain has loaded no framework, no SQL, no hypercalls."""
    told.stub(S, N)
    daemon.replies[f"POST /v1/domains/{N}/relayed-headroom"] = GRANTED
    command = [sys.executable, "-c", TELLS, *command_of(told)[3:]]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert told.answer(S, "a1 headroom 64") == "granted 4096"
    rss_kib = resident_kib(running.pid)
    running.send_signal(signal.SIGTERM)
    status, loaded = json.loads(running.communicate(timeout=60)[0])
    assert status == 0
    assert [name for name in loaded if name.partition(".")[0] in HEAVY] == []
    ours = {name for name in loaded if name.startswith("maxmemd.")}
    assert not any(name.startswith(("maxmemd.ledger", "maxmemd.api")) for name in ours)
    assert "maxmemd.xen.xencall" not in ours
    assert rss_kib < 32 * 1024


def resident_kib(pid: int) -> int:
    """Return a process's resident memory in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)


def test_systemd_is_told(told: Scene, tmp_path: Path) -> None:
    """It says that it is ready, with no stub domain and no daemon anywhere; SIGTERM ends it."""
    with notices(tmp_path) as sock:
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        running = subprocess.Popen(command_of(told), cwd=ROOT, env=environment)
        assert sock.recv(100) == b"READY=1"
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0


def test_a_signal_ends_it_while_xenstored_is_away(told: Scene, tmp_path: Path) -> None:
    """It waits for xenstored, and does not have to be killed."""
    told.fake.stop()
    with notices(tmp_path) as sock:
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        running = subprocess.Popen(
            command_of(told), cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )
        assert sock.recv(100) == b"READY=1"
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=60)[1]
        assert running.returncode == 0
        assert "cannot use xenstored" in said


def test_it_ends_while_the_daemon_keeps_it_waiting(told: Scene, daemon: Stub) -> None:
    """A request that is out is no reason to stay: it is asked again by the next relay."""
    told.stub(S, N)
    held = daemon.replies[f"POST /v1/domains/{N}/relayed-headroom"] = Held(GRANTED)
    running = subprocess.Popen(command_of(told), cwd=ROOT)
    told.ask(S, "a1 headroom 64")
    until("it is being asked", lambda: daemon.seen)
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 0
    held.let.set()
    assert told.read(S, "reply") == ""


def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its help has an example."""
    monkeypatch.setattr(sys, "argv", ["maxmemd", "relay", "--help"])
    assert __main__.main() == 0
    said = capsys.readouterr().out
    assert 'xenstore-write maxmem/request "a1 headroom 64"' in said
    assert "usage: maxmemd relay" in said


def test_other_words_are_the_daemons(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is not `relay` goes where it went before, and names the relay in its help."""
    monkeypatch.setattr(sys, "argv", ["maxmemd", "--help"])
    assert __main__.main() == 0
    said = capsys.readouterr().out
    assert "maxmemd serve" in said
    assert "maxmemd relay" in said
    until("the module runs", lambda: module_runs("--version"))


def module_runs(*words: str) -> bool:
    """Whether `python -m maxmemd.__main__` runs the command that it is given."""
    command = [sys.executable, "-m", "maxmemd.__main__", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
