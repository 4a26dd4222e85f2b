"""What allowed requests that are dear cost others: three observers, a device model, a toolstack.

Each asks for one dear thing at its own rate, all at once. Beside them root writes, asks for health,
and another observer asks for one domain; their p99 is compared with that of the same run without.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import servers
from benchmarks.ours import BASE, TOOLSTACK
from benchmarks.report import CannotMeasure, progress
from benchmarks.servers import Server

OBSERVER, OTHER = 2001, 2100
"""uids of observers from this one on, and of one more."""
OBSERVERS = 3
DEAR = {
    "domains": ("/v1/domains", 10),
    "metrics": ("/metrics", 10),
    "history": ("/v1/domains/1/history?limit=500", 22),
    "old history": ("/v1/domains/1/history?limit=1&before=2", 2),
    "explain": ("/v1/domains/1/explain", 3),
    "pushes": ("/v1/domains/1/pushes?limit=500", 22),
}
"""The dear routes, and what each costs."""
OF_ALL = ("domains", "metrics")
"""What a device model may not ask: it asks for its own history meanwhile."""
RATES = {"observer": 50.0, "device-model": 10.0, "toolstack": 2000.0}
CONNECTIONS = {"observer": 8, "device-model": 4, "toolstack": 4}
STARTS_S = 2.0
QUICK_MS = 10.0
"""A p99 below this is compared as if it were this: less is pauses of the machine."""
ROMS = "/v1/domains/2/components/device-model/roms"
WATCHED = {
    "root's writes": (0, [("PUT", ROMS, f'{{"amount_kib": {kib}}}') for kib in (4, 8)], 100),
    "health": (0, [("GET", "/v1/health", "")], 50),
    "another observer": (OTHER, [("GET", "/v1/domains/2", "")], 40),
}  # fmt: skip
"""Who is to be unharmed: uid, requests, and how many a second."""


@dataclass(frozen=True, slots=True)
class Harm:
    """What one kind of dear request did: p99 in ms without and with it, by who is to be unharmed.

    `answered` and `refused` count the dear requests; `resident_mb` is the most so far.
    """

    what: str
    quiet_ms: dict[str, float]
    beside_ms: dict[str, float]
    answered: int
    refused: int
    resident_mb: float

    @property
    def ratios(self) -> dict[str, float]:
        """How many times as long each waited."""
        return {
            who: max(self.beside_ms[who], QUICK_MS) / max(self.quiet_ms[who], QUICK_MS)
            for who in self.quiet_ms
        }

    @property
    def note(self) -> str:
        """Return the figures as text."""
        waits = [f"{who} {self.quiet_ms[who]:.1f} -> {self.beside_ms[who]:.1f}" for who in WATCHED]
        return (
            f"p99 in ms: {', '.join(waits)}; {self.answered} answered, {self.refused} refused;"
            f" {self.resident_mb:.0f} MB"
        )


@contextmanager
def daemon(directory: Path, domains: int, prefix: Sequence[str] = ()) -> Iterator[Server]:
    """Run the daemon on a host of so many guests, reachable for other users. Only as root.

    `prefix` is put before its command.
    """
    if os.geteuid() != 0:
        raise CannotMeasure("cannot ask as several users: run as root")
    directory.chmod(0o711)
    directory.parent.chmod(0o711)
    with servers.ours(directory, domains, prefix=prefix) as server:
        server.path.chmod(0o666)
        yield server


def measure(server: Server, names: Sequence[str], seconds: float) -> list[Harm]:
    """Return what each of these kinds of dear requests did to others."""
    found = []
    for name in names:
        quiet, _ = _round(server, None, seconds)
        beside, statuses = _round(server, name, seconds)
        answered = statuses.get("200", 0)
        refused = sum(statuses.values()) - answered
        resident = server.resident_mb("VmHWM")
        found.append(Harm(name, quiet, beside, answered, refused, resident))
        progress(f"{name}: {found[-1].note}")
    return found


def _round(
    server: Server, name: str | None, seconds: float
) -> tuple[dict[str, float], dict[str, int]]:
    """Return the p99 of each who is watched, and the statuses of the dear requests."""
    dear = []
    if name is not None:
        dear = [_begin(server, *one, STARTS_S + seconds + 1) for one in _crowd(name)]
        time.sleep(STARTS_S)  # what five interpreters take to start is not what is measured
    watched = {
        who: _begin(server, uid, {"requests": requests, "per_s": per_s, "connections": 1}, seconds)
        for who, (uid, requests, per_s) in WATCHED.items()
    }
    p99 = {}
    for who, process in watched.items():
        took = _end(process)
        if set(took) - {"200"} or not took:
            raise CannotMeasure(f"cannot measure {who}: it was answered {sorted(took)}")
        times = sorted(took["200"])
        p99[who] = times[int(len(times) * 0.99)] * 1000
    statuses: dict[str, int] = {}
    for process in dear:
        for status, times in _end(process).items():
            statuses[status] = statuses.get(status, 0) + len(times)
    return p99, statuses


def _crowd(name: str) -> list[tuple[int, dict[str, object]]]:
    """Return who asks for one dear thing at its own rate: uid and what it does."""
    own = "history" if name in OF_ALL else name
    clients = [("observer", OBSERVER + number, name) for number in range(OBSERVERS)]
    clients += [("device-model", BASE + 1, own), ("toolstack", TOOLSTACK, name)]
    crowd = []
    for role, uid, what in clients:
        path, cost = DEAR[what]
        spec: dict[str, object] = {
            "requests": [("GET", path, "")],
            "per_s": 1.2 * RATES[role] / cost,
            "connections": CONNECTIONS[role],
            "nice": 10,
        }
        crowd.append((uid, spec))
    return crowd


def _begin(
    server: Server, uid: int, spec: dict[str, object], seconds: float
) -> subprocess.Popen[bytes]:
    words = [str(server.path), str(uid), json.dumps({**spec, "seconds": seconds})]
    command = [sys.executable, "-m", "benchmarks.reader", *words]
    return subprocess.Popen(command, cwd=servers.ROOT, stdout=subprocess.PIPE)


def _end(process: subprocess.Popen[bytes]) -> dict[str, list[float]]:
    told, _ = process.communicate(timeout=300)
    if process.returncode != 0:
        raise CannotMeasure("cannot measure: a client failed")
    found: dict[str, list[float]] = json.loads(told)
    return found
