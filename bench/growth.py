"""Does a series of samples grow? A robust slope and a test for a trend, without a clock.

The second half of a run is judged, when caches are warm. The slope is Theil and Sen's, the
median of the slopes between all pairs, which a few outliers do not move; the test is Mann and
Kendall's, which asks whether later samples are larger more often than chance allows.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# All pairs are looked at; a longer half is averaged into as many parts.
MOST_POINTS: Final = 120
FEWEST_POINTS: Final = 10
# One-sided, 1 %.
SIGNIFICANT: Final = 2.33


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The trend of a series.

    Attributes:
        per_hour: Slope.
        share: Growth over the judged half / its median.
        is_trend: Whether chance is an unlikely reason.
    """

    per_hour: float
    share: float
    is_trend: bool


def growth(samples: Sequence[tuple[float, float]]) -> Growth | None:
    """Return the trend of the second half of (seconds, value) samples; None if that has too few."""
    points = _averaged(samples[len(samples) // 2 :])
    if len(points) < FEWEST_POINTS:
        return None
    pairs = list(itertools.combinations(points, 2))
    slope = statistics.median((late - early) / (then - at) for (at, early), (then, late) in pairs)
    middle = statistics.median(value for _, value in points)
    rise = slope * (points[-1][0] - points[0][0])
    score = sum((late > early) - (late < early) for (_, early), (_, late) in pairs)
    n = len(points)
    deviation = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    return Growth(
        per_hour=slope * 3600,
        share=rise / middle if middle else 0.0,
        is_trend=score / deviation > SIGNIFICANT,
    )


def _averaged(samples: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    size = math.ceil(len(samples) / MOST_POINTS)
    parts = [samples[at : at + size] for at in range(0, len(samples), size)] if size > 1 else []
    if not parts:
        return list(samples)
    return [
        (statistics.fmean(at for at, _ in part), statistics.fmean(value for _, value in part))
        for part in parts
    ]
