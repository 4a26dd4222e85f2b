"""What the fuzzer begins with, and whatever it found, played again: each clean, none forgotten."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maxmemd.api import domain_json
from maxmemd.api.auth.admission import Admission
from maxmemd.api.event_stream import EventStream
from maxmemd.errors import LedgerError
from tests.support.figures import figure
from tests.support.process import ROOT
from tests.support.soak import SOAK
from tests.system.fuzz.answers import Broken
from tests.system.fuzz.growth import SEEDS
from tests.system.fuzz.target import Target

FOUND = sorted(
    path for path in (Path(__file__).parent / "found").iterdir() if path.name != "README"
)
MOST_GROWTH_KIB = 8 * 1024


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """Give one target for all inputs."""
    found = Target()
    yield found
    found.close()


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.name)
def test_a_seed(target: Target, path: Path) -> None:
    """A good one is granted, a bad one is refused or closed, an odd one is neither's business."""
    statuses = target.give(path.read_bytes())
    if path.name.startswith("good-"):
        assert {200} == set(statuses)
    elif path.name.startswith("bad-"):
        assert all(400 <= status < 500 for status in statuses)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_was_found(target: Target, path: Path) -> None:
    """What once broke the daemon breaks it no more."""
    target.give(path.read_bytes())


@pytest.mark.parametrize(("size", "step"), [(0, 29), (1, 101), (7, 29), (255, 29)])
def test_any_beginning_of_a_seed(target: Target, size: int, step: int) -> None:
    """A connection that ends anywhere, in pieces of any size, leaves nothing behind."""
    step = 1 if SOAK else step
    for path in SEEDS:
        data = path.read_bytes()
        for end in range(2, min(len(data), 1000), step):
            target.give(data[:1] + bytes([size]) + data[2:end])


@pytest.mark.soak
def test_memory_does_not_grow() -> None:
    """Playing everything again and again takes no more memory than the first few times."""
    rounds = 200 if SOAK else 10
    program = [sys.executable, "-m", "tests.system.fuzz.growth", str(rounds)]
    done = subprocess.run(program, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    growth_kib = int(done.stdout)
    what = f"memory after {rounds * len(SEEDS)} inputs in one process"
    figure("fuzz", what, f"{growth_kib / 1024:+.1f} MiB")
    assert growth_kib < MOST_GROWTH_KIB


def _fails(*_: object) -> None:
    raise ZeroDivisionError


def _unwell(*_: object) -> None:
    raise LedgerError("cannot read the ledger: it is gone")


@pytest.mark.parametrize(
    ("where", "name", "instead", "said"),
    [
        (domain_json, "domain", _fails, "ZeroDivisionError"),
        (domain_json, "domain", _unwell, "503: .*cannot read the ledger"),
        (Admission, "unregister", lambda *_: None, "a count of connections is left behind"),
        (EventStream, "remove_client", lambda *_: None, "a stream is left behind"),
    ],
)
def test_a_fault_is_seen(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, instead: object, said: str
) -> None:
    """The target is no blind one: an exception, a 5xx, and what is left behind all break it."""
    path = "domains/web" if where is domain_json else "events"
    request = f"GET /v1/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    target = Target()
    try:
        assert target.give(b"\0\0" + request) == [200]
        monkeypatch.setattr(where, name, instead)
        with pytest.raises(Broken, match=said):
            target.give(b"\0\0" + request)
    finally:
        target.close()
