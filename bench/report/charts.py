"""Bars and lines as inline SVG: no script, no style sheet, nothing from the network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from bench.show import number

WIDTH: Final = 640
BAR: Final = 22
LABELS: Final = 190
HEIGHT: Final = 220
MARGIN: Final = 48
COLOURS: Final = ("#2f6f5e", "#b5651d", "#45588f", "#8f4545", "#6b6b2f", "#5e2f6f", "#777777")

Points = Sequence[tuple[float, float]]


def bars(values: Mapping[str, float], label: str) -> str:
    """Return horizontal bars, one per name, with their figures."""
    most = max(values.values(), default=0) or 1
    height = BAR * len(values) + 8
    parts = [_open(height, label)]
    for nth, (name, value) in enumerate(values.items()):
        y = nth * BAR + 4
        width = max(1.0, value / most * (WIDTH - LABELS - 110))
        colour = COLOURS[0] if nth == 0 else COLOURS[-1]
        parts.append(
            f'<text x="{LABELS - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{LABELS}" y="{y}" width="{width:.1f}" height="{BAR - 6}" fill="{colour}"/>'
            f'<text x="{LABELS + width + 6:.1f}" y="{y + 14}">{number(value)}</text>'
        )
    return "".join([*parts, "</svg>"])


def lines(curves: Mapping[str, Points], label: str, *, x_label: str, y_label: str) -> str:
    """Return one line per name over a common pair of axes that begin at zero."""
    shown = {name: points for name, points in curves.items() if points}
    if not shown:
        return ""
    most_x = max(x for points in shown.values() for x, _ in points) or 1
    most_y = _round_up(max(y for points in shown.values() for _, y in points))
    parts = [_open(HEIGHT + 40, label), _axes(most_x, most_y, x_label, y_label)]
    for nth, (name, points) in enumerate(shown.items()):
        colour = COLOURS[nth % len(COLOURS)]
        path = " ".join(f"{_x(x / most_x):.1f},{_y(y / most_y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{MARGIN + 12 + nth * 130}" y="12" fill="{colour}">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])


def percentile_axis(points: Points) -> list[tuple[float, float]]:
    """Stretch percentiles towards 100, as HDR charts do: x is the number of nines."""
    return [(-math.log10(max(1e-5, 1 - percentile / 100)), value) for percentile, value in points]


def _open(height: int, label: str) -> str:
    return f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}">'


def _axes(most_x: float, most_y: float, x_label: str, y_label: str) -> str:
    bottom, right = _y(0), _x(1)
    return (
        f'<path d="M{MARGIN},{_y(1):.1f} V{bottom:.1f} H{right:.1f}" fill="none" stroke="#999"/>'
        f'<text x="{MARGIN - 6}" y="{_y(1) + 4:.1f}" text-anchor="end">{_short(most_y)}</text>'
        f'<text x="{MARGIN - 6}" y="{bottom:.1f}" text-anchor="end">0</text>'
        f'<text x="{right:.1f}" y="{bottom + 16:.1f}" text-anchor="end">'
        f"{number(most_x)} {escape(x_label)}</text>"
        f'<text x="{MARGIN + 6}" y="{bottom + 16:.1f}">{escape(y_label)}</text>'
    )


def _x(share: float) -> float:
    return MARGIN + share * (WIDTH - MARGIN - 16)


def _y(share: float) -> float:
    return 24 + (1 - share) * (HEIGHT - 24)


def _round_up(value: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


def _short(value: float) -> str:
    for limit, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{suffix}"
    return f"{value:g}"
