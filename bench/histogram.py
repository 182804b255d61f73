"""Latencies in an HDR histogram, corrected for coordinated omission.

Two corrections, for two ways to load a server:

* A paced load has a schedule. Latency counts from when a request *should* have been
  sent, so what a stall delays is in the figures already; nothing is added.
* A closed loop has none: while one answer takes a second, the requests that would have
  been sent in that second are missing. They are filled in as HdrHistogram's
  `recordValueWithExpectedInterval` does: for a value v and an interval i also
  v-i, v-2i, … down to i. The interval is connections / rate, wrk's choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hdrh.histogram import HdrHistogram

# 1 µs to 10 minutes at three significant digits.
LOWEST_US: Final = 1
HIGHEST_US: Final = 600_000_000
SIGNIFICANT_DIGITS: Final = 3
# Distinct values held before they are folded into the histogram: bounds memory, and
# a dict costs a tenth of the histogram's own record_value.
FOLD_AT: Final = 65_536
PERCENTILES: Final = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99)


class Summary(dict[str, float | int]):
    """Count, min, mean, max and percentiles by name, in microseconds.

    Attributes:
        histogram: What they were read from, encoded, so that several can be added.
    """

    histogram: bytes = b""


class Latencies:
    """An HDR histogram of durations."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._histogram = _new_histogram()

    def add(self, nanoseconds: int) -> None:
        """Count one duration."""
        counts = self._counts
        value = nanoseconds // 1000
        counts[value] = counts.get(value, 0) + 1
        if len(counts) >= FOLD_AT:
            self._fold()

    def add_all(self, nanoseconds: Iterable[int]) -> None:
        """Count several durations."""
        for value in nanoseconds:
            self.add(value)

    def clear(self) -> None:
        """Forget everything, for instance what belonged to the warm-up."""
        self._counts.clear()
        self._histogram = _new_histogram()

    def take(self, other: Latencies) -> None:
        """Move everything from `other` here."""
        self._fold()
        other._fold()
        self._histogram.add(other._histogram)
        other.clear()

    def _fold(self) -> None:
        for value, count in self._counts.items():
            _record(self._histogram, value, count)
        self._counts.clear()

    def summary(self) -> Summary:
        """Return count, min, mean, max and percentiles, in microseconds."""
        self._fold()
        return _summary(self._histogram)

    def corrected(self, interval_us: float) -> Summary:
        """Return the summary with the requests filled in that a closed loop left out.

        Args:
            interval_us: Time between two requests of one connection when all goes well.
        """
        self._fold()
        filled = _new_histogram()
        for value, count in _recorded(self._histogram).items():
            for each in _with_missing(value, interval_us):
                _record(filled, each, count)
        return _summary(filled)

    def curve(self) -> list[tuple[float, float]]:
        """Return (percentile, microseconds) points for a chart, at most a few dozen."""
        self._fold()
        return _curve(self._histogram)


def added(summaries: Sequence[Summary]) -> tuple[Summary, list[tuple[float, float]]]:
    """Return the summary, and the curve, of all that the summaries were read from: histograms add."""
    total = _new_histogram()
    for summary in summaries:
        if summary.histogram:
            total.add(HdrHistogram.decode(summary.histogram))
    return _summary(total), _curve(total)


def _curve(histogram: HdrHistogram) -> list[tuple[float, float]]:
    if not histogram.get_total_count():
        return []
    wanted = [*range(0, 100, 5), 99.0, 99.5, 99.9, 99.95, 99.99, 100.0]
    values = histogram.get_percentile_to_value_dict(wanted)
    return [(float(percentile), float(values[percentile])) for percentile in wanted]


def _with_missing(value: int, interval_us: float) -> Iterable[int]:
    yield value
    if interval_us <= 0:
        return
    missing = value - interval_us
    while missing >= interval_us:
        yield int(missing)
        missing -= interval_us


def _new_histogram() -> HdrHistogram:
    return HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)


def _record(histogram: HdrHistogram, value: int, count: int) -> None:
    histogram.record_value(min(max(value, LOWEST_US), HIGHEST_US), count)


def _recorded(histogram: HdrHistogram) -> Mapping[int, int]:
    counts: Counter[int] = Counter()
    for item in histogram.get_recorded_iterator():
        counts[item.value_iterated_to] += item.count_added_in_this_iter_step
    return counts


def _summary(histogram: HdrHistogram) -> Summary:
    count = histogram.get_total_count()
    if not count:
        return Summary(count=0)
    summary = Summary(
        count=count,
        min_us=histogram.get_min_value(),
        mean_us=round(histogram.get_mean_value(), 1),
        max_us=histogram.get_max_value(),
    )
    summary.histogram = histogram.encode()
    for percentile, value in histogram.get_percentile_to_value_dict(PERCENTILES).items():
        name = f"p{percentile:g}".replace(".", "_")
        summary[f"{name}_us"] = value
    return summary
