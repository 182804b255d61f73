"""Bars and lines as inline SVG with an HTML legend: no script, nothing from the network.

A drawing is 480 units wide, whatever the width of the page: on a phone a unit is three
quarters of a pixel, so the page's style makes the text larger there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from bench.show import number

WIDTH: Final = 480
BAR: Final = 24
LABELS: Final = 150
# For a figure behind the longest bar.
FIGURES: Final = 84
HEIGHT: Final = 200
LEFT: Final = 58
RIGHT: Final = 18
# Readable on white and on black.
COLOURS: Final = ("#2a9d78", "#d9772b", "#5b7fd1", "#c9545a", "#9a8a2a", "#9a5fc0", "#808080")
STEPS: Final = {1: 0.25, 2: 0.5, 5: 1.0}
LARGE: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))

Points = Sequence[tuple[float, float]]
# Where on an axis, and what is written there.
Ticks = Sequence[tuple[float, str]]


def bars(values: Mapping[str, float], label: str) -> str:
    """Return horizontal bars, one per name, with their figures."""
    most = max(values.values(), default=0) or 1
    height = BAR * len(values) + 8
    parts = [_open(height, label)]
    for nth, (name, value) in enumerate(values.items()):
        y = nth * BAR + 4
        width = max(1.0, value / most * (WIDTH - LABELS - FIGURES))
        colour = COLOURS[0] if nth == 0 else COLOURS[-1]
        parts.append(
            f'<text x="{LABELS - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{LABELS}" y="{y}" width="{width:.1f}" height="{BAR - 6}" fill="{colour}"/>'
            f'<text x="{LABELS + width + 6:.1f}" y="{y + 14}">{number(value)}</text>'
        )
    return "".join([*parts, "</svg>"])


def lines(
    curves: Mapping[str, Points], label: str, *, x_label: str, y_label: str, x_ticks: Ticks = ()
) -> str:
    """Return one line per name over a common pair of axes that begin at zero.

    Args:
        curves: Name → points.
        label: What the chart shows.
        x_label: Unit of the horizontal axis.
        y_label: Unit of the vertical one.
        x_ticks: What the horizontal axis says; numbers, if not given.
    """
    shown = {name: points for name, points in curves.items() if points}
    if not shown:
        return ""
    most_x = max(x for points in shown.values() for x, _ in points) or 1
    most_y = _round_up(max(y for points in shown.values() for _, y in points))
    ticks = [tick for tick in x_ticks if tick[0] <= most_x] or _ticks(most_x)
    parts = [
        _caption(label, y_label, shown),
        _open(HEIGHT + 34, label),
        _axes(most_x, most_y, ticks, x_label),
    ]
    for name, points in shown.items():
        path = " ".join(f"{_x(x / most_x):.1f},{_y(y / most_y):.1f}" for x, y in points)
        stroke = f'stroke="{_colour(shown, name)}"'
        parts.append(f'<polyline points="{path}" fill="none" {stroke} stroke-width="2"/>')
    return "".join(["<figure>", *parts, "</svg></figure>"])


# Percentiles on an axis of `percentile_axis`.
PERCENTILE_TICKS: Final = (
    *((-math.log10(1 - share), f"{share * 100:g}") for share in (0.5, 0.9, 0.99, 0.999, 0.9999)),
    (5.0, "max"),
)


def percentile_axis(points: Points) -> list[tuple[float, float]]:
    """Stretch percentiles towards 100, as HDR charts do: x is the number of nines."""
    return [(-math.log10(max(1e-5, 1 - percentile / 100)), value) for percentile, value in points]


def _caption(label: str, unit: str, names: Mapping[str, Points]) -> str:
    entries = "".join(
        f'<li><i style="background:{_colour(names, name)}"></i>{escape(name)}</li>' for name in names
    )
    return f"<figcaption>{escape(label)}, {escape(unit)}</figcaption><ul class=legend>{entries}</ul>"


def _colour(names: Mapping[str, Points], name: str) -> str:
    return COLOURS[list(names).index(name) % len(COLOURS)]


def _open(height: int, label: str) -> str:
    return f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {height}">'


def _axes(most_x: float, most_y: float, x_ticks: Ticks, x_label: str) -> str:
    bottom, right = _y(0), _x(1)
    parts = [
        f'<path d="M{LEFT},{_y(value / most_y):.1f} H{right:.1f}" stroke="#888" stroke-opacity=".35"/>'
        f'<text x="{LEFT - 6}" y="{_y(value / most_y) + 4:.1f}" text-anchor="end">{escape(text)}</text>'
        for value, text in _ticks(most_y)
    ]
    for value, text in x_ticks:
        x = _x(value / most_x)
        parts.append(
            f'<path d="M{x:.1f},{bottom:.1f} v4" stroke="#888"/>'
            f'<text x="{x:.1f}" y="{bottom + 17:.1f}" text-anchor="middle">{escape(text)}</text>'
        )
    parts.append(f'<text x="{right:.1f}" y="{bottom + 32:.1f}" text-anchor="end">{escape(x_label)}</text>')
    return "".join(parts)


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return 12 + (1 - share) * (HEIGHT - 14)


def _ticks(most: float) -> list[tuple[float, str]]:
    """Return two to five round numbers from zero to `most`."""
    top = _round_up(most)
    power = 10.0 ** math.floor(math.log10(top * 1.0001))
    step = STEPS[round(top / power)] * power
    count = math.floor(most / step + 1e-9)
    return [(nth * step, _short(nth * step)) for nth in range(count + 1)]


def _round_up(value: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


def _short(value: float) -> str:
    for limit, suffix in LARGE:
        if value >= limit:
            return f"{value / limit:g}{suffix}"
    return f"{value:g}"
