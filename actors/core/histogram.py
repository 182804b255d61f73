"""Histograms of durations, cheap to add to: fixed buckets, integer counts, Prometheus' form."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

# Upper bounds in seconds, inclusive: from one event-loop callback to a call nobody waits for any longer.
BOUNDS_S: Final = (
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
    1.0,
    2.5,
    5.0,
    10.0,
)


class Histogram:
    """Counts of durations by bucket.

    >>> histogram = Histogram()
    >>> histogram.observe(0.0003)
    >>> histogram.observe(60)
    >>> histogram.cumulative()[1:4]
    [(0.00025, 0), (0.0005, 1), (0.001, 1)]
    >>> histogram.cumulative()[-1]
    (inf, 2)

    Attributes:
        sum_s: Seconds of all durations together.
    """

    __slots__ = ("_counts", "sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    @property
    def count(self) -> int:
        """How many durations there were."""
        return sum(self._counts)

    def observe(self, seconds: float, weight: int = 1) -> None:
        """Count one duration; of a sample of one in `weight`, it stands for as many."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += weight
        self.sum_s += seconds * weight

    def cumulative(self) -> list[tuple[float, int]]:
        """How many durations were at most as long as each bound; the last bound is infinity."""
        total, found = 0, []
        for bound, count in zip((*BOUNDS_S, float("inf")), self._counts, strict=True):
            total += count
            found.append((bound, total))
        return found
