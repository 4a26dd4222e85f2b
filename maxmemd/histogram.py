"""A histogram whose update costs one bisection."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

SECONDS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
)
"""Bounds from a fast hypercall to a slow disk."""
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Distribution(NamedTuple):
    """How many values there were between bounds, and their sum, at one moment.

    `counts` has one number more than there are bounds: of what was above the last.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    def buckets(self) -> list[tuple[str, float]]:
        """Return how many were at most each bound, as text; the last one is infinite."""
        bounds = [*(repr(float(bound)) for bound in self.bounds), "+Inf"]
        return list(zip(bounds, accumulate(map(float, self.counts)), strict=True))


class Histogram:
    """Counts values by size. Belongs to one thread; others get a snapshot."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def snapshot(self) -> Distribution:
        """Return what was counted so far, as a value that stays as it is."""
        return Distribution(self.bounds, tuple(self.counts), self.total)
