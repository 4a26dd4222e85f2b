"""What all measurements share."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Generator

GUESTS = 64
MANY_DOMAINS = 1000
ROUNDS = 3
ROUND_S = 2.0
POLLS = 100


@dataclass(frozen=True, slots=True)
class Bench:
    """What a measurement needs: a directory on a real disk, and the load generator."""

    directory: Path
    generator: Callable[[], Generator]

    def make_directory(self, name: str) -> Path:
        """Make a directory for one measurement."""
        path = self.directory / name
        path.mkdir()
        return path


def time_ms(step: Callable[[], object]) -> float:
    """Run a step; return how long it took."""
    began_s = time.perf_counter()
    step()
    return (time.perf_counter() - began_s) * 1e3
