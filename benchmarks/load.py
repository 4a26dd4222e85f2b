"""The load generator: load.c, compiled once for each run of the benchmarks."""

import shutil
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import CannotMeasure
from benchmarks.servers import Server

SOURCE = Path(__file__).with_name("load.c")
WARM_S = 0.4


@dataclass(frozen=True, slots=True)
class Load:
    """The result of one round. Latencies are in ms, `cpu_us` is the server's CPU time per reply.

    A busy machine changes the CPU time far less than the latency.
    """

    per_s: float
    errors: int
    p50: float
    p99: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Generator:
    """The compiled generator."""

    program: Path

    @classmethod
    def build(cls, directory: Path) -> "Generator":
        """Compile it into a directory. Raises CannotMeasure without a compiler."""
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise CannotMeasure(
                "cannot build the load generator: no C compiler (apt-get install gcc libc6-dev)"
            )
        program = directory / "load"
        command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CannotMeasure(f"cannot build the load generator: {done.stderr}")
        return cls(program)

    def run(
        self, server: Server, *, connections: int, seconds: float, domains: int, write: str
    ) -> Load:
        """Load a server for one round. Raises CannotMeasure when it stops answering."""
        words = [server.path, connections, seconds, WARM_S, domains, write]
        command = [str(self.program), *(str(word) for word in words)]
        before_s = server.cpu_s()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CannotMeasure(f"cannot load {server.path.name}: {done.stderr.strip()}")
        used_s = server.cpu_s() - before_s
        replies, errors, p50, _, p99, _ = done.stdout.split()
        per_s = int(replies) / seconds
        cpu_us = used_s * 1e6 / (per_s * (seconds + WARM_S))
        return Load(per_s, int(errors), float(p50), float(p99), cpu_us)


def median(rounds: Sequence[Load]) -> Load:
    """Return the medians of several rounds, and the sum of their errors."""
    return Load(
        statistics.median(one.per_s for one in rounds),
        sum(one.errors for one in rounds),
        statistics.median(one.p50 for one in rounds),
        statistics.median(one.p99 for one in rounds),
        statistics.median(one.cpu_us for one in rounds),
    )
