"""`python -m tests.system.fuzz.growth ROUNDS`: play the seeds on and on; print the KiB it took.

In a process of its own: in one that holds much else Python seldom collects garbage, and what the
collector leaves lying for a while is no leak.
"""

import gc
import logging
import sys
from pathlib import Path

from tests.system.fuzz.target import Target

SEEDS = sorted((Path(__file__).parent / "corpus").iterdir())
WARM_UP = 5
"""Rounds after which caches and pools are as large as they become."""


def main(rounds: int) -> None:
    """Print how much more is resident after these rounds than after the first few."""
    logging.disable(logging.CRITICAL)
    target = Target()
    inputs = [path.read_bytes() for path in SEEDS]
    first_kib = played(target, inputs, WARM_UP)
    print(played(target, inputs, rounds) - first_kib)
    target.close()


def played(target: Target, inputs: list[bytes], rounds: int) -> int:
    """Play all inputs so many times; return what is resident then, in KiB."""
    for _ in range(rounds):
        for data in inputs:
            target.give(data)
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


if __name__ == "__main__":
    main(int(sys.argv[1]))
