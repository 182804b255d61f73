"""Warm up, then measure: counts, a time line, and the generator's own share of its core."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.load.engine import Engine

SLICES: Final = 20
SHORTEST_SLICE_S: Final = 0.05
LONGEST_SLICE_S: Final = 5.0
# Past this the figure is the generator's limit, not the server's.
BOTTLENECK_SHARE: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowResult:
    """Counts and processor shares of one measuring window.

    Attributes:
        elapsed_s: Length of the window.
        count: How far the counter went.
        timeline: (seconds since the start, counts per second) of each slice.
        cpu_share: Processor time of the generator's thread / elapsed time.
        server_share: The same of the server's process tree; None when it is not known.
    """

    elapsed_s: float
    count: int
    timeline: tuple[tuple[float, float], ...]
    cpu_share: float
    server_share: float | None = None

    @property
    def per_s(self) -> float:
        """Counts per second over the whole window."""
        return self.count / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def is_bottleneck(self) -> bool:
        """Whether the generator was saturated while the server was not, or is not known."""
        if self.server_share is not None and self.server_share >= BOTTLENECK_SHARE:
            return False
        return self.cpu_share >= BOTTLENECK_SHARE


class CpuShare:
    """Processor time of the generator since creation, as a share of elapsed time."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._cpu_begun = time.thread_time()

    def elapsed_s(self) -> float:
        """Return seconds since the beginning."""
        return time.perf_counter() - self._begun

    def share(self) -> float:
        """Return processor time / elapsed time since the beginning."""
        elapsed = self.elapsed_s()
        return (time.thread_time() - self._cpu_begun) / elapsed if elapsed else 0.0


OnSlice = Callable[[float, float], None]


def measure(
    engine: Engine,
    counter: Callable[[], int],
    *,
    duration_s: float,
    on_slice: OnSlice | None = None,
) -> WindowResult:
    """Run the engine for `duration_s` and watch `counter`.

    Args:
        engine: With the load already under way.
        counter: Something that only grows.
        duration_s: Length of the window.
        on_slice: Called about twenty times with (share done, counts per second).
    """
    slice_s = min(max(duration_s / SLICES, SHORTEST_SLICE_S), LONGEST_SLICE_S)
    timeline: list[tuple[float, float]] = []
    effort, first = CpuShare(), counter()
    before, then, elapsed = first, 0.0, 0.0
    while elapsed < duration_s:
        engine.run(min(slice_s, duration_s - elapsed))
        elapsed, count = effort.elapsed_s(), counter()
        rate = (count - before) / (elapsed - then)
        timeline.append((round(elapsed, 3), round(rate, 1)))
        then, before = elapsed, count
        if on_slice:
            on_slice(min(1.0, elapsed / duration_s), rate)
    return WindowResult(
        elapsed_s=elapsed,
        count=before - first,
        timeline=tuple(timeline),
        cpu_share=effort.share(),
    )
