"""Warm up, then measure: counts, a time line, and the generator's own share of its core."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.load.engine import Engine
from bench.load.interrupt import interruptible

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
        resources: (seconds, cores, resident bytes) of the server's process tree; () when it is not known.
        interrupted: SIGINT ended it early.
    """

    elapsed_s: float
    count: int
    timeline: tuple[tuple[float, float], ...]
    cpu_share: float
    server_share: float | None = None
    resources: tuple[tuple[float, float, int], ...] = ()
    interrupted: bool = False

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

    SIGINT ends the window early.
    """
    slice_s = min(max(duration_s / SLICES, SHORTEST_SLICE_S), LONGEST_SLICE_S)
    timeline = Timeline(counter)
    with interruptible(engine) as interrupt:
        while timeline.elapsed_s < duration_s:
            engine.run(min(slice_s, duration_s - timeline.elapsed_s))
            rate = timeline.add()
            if on_slice:
                on_slice(min(1.0, timeline.elapsed_s / duration_s), rate)
    if interrupt.asked:
        timeline.add()
    return timeline.result(interrupted=interrupt.asked)


class Timeline:
    """Counts per second of each slice of a window that begins now.

    Attributes:
        elapsed_s: From the beginning to the end of the last slice.
    """

    def __init__(self, counter: Callable[[], int]) -> None:
        self.elapsed_s = 0.0
        self._counter = counter
        self._effort = CpuShare()
        self._first = self._before = counter()
        self._points: list[tuple[float, float]] = []

    def add(self) -> float:
        """End a slice here and return its rate."""
        then_s, self.elapsed_s = self.elapsed_s, self._effort.elapsed_s()
        before, self._before = self._before, self._counter()
        rate = (self._before - before) / (self.elapsed_s - then_s)
        self._points.append((round(self.elapsed_s, 3), round(rate, 1)))
        return rate

    def result(self, *, interrupted: bool = False) -> WindowResult:
        """Return the counts of all slices."""
        return WindowResult(
            elapsed_s=self.elapsed_s,
            count=self._before - self._first,
            timeline=tuple(self._points),
            cpu_share=self._effort.share(),
            interrupted=interrupted,
        )
