"""One self-contained HTML page from any number of JSON files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from bench.report.charts import bars, lines, percentile_axis
from bench.results import Result
from bench.show import notes, number

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
table { border-collapse: collapse; } td, th { padding: .15rem .8rem .15rem 0; text-align: right; }
td:first-child, th:first-child { text-align: left; }
svg { display: block; max-width: 100%; margin: .8rem 0; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
.facts, code { color: #666; font-size: .85rem; } .note { color: #a05000; }
"""
_PERCENTILES: Final = ("count", "p50_us", "p90_us", "p99_us", "p99_9_us", "max_us")


def page(values: Sequence[Mapping[str, Any]]) -> str:
    """Return the page for results and contests, in the order given."""
    sections = "".join(_comparison(value) if value["kind"] == "peers" else _result(value) for value in values)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Greenroom bench</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>Greenroom bench</h1>{sections}</body></html>\n"
    )


def _result(value: Mapping[str, Any]) -> str:
    result = Result.from_json(value)
    outcome = result.outcome
    counted = next((name for name in outcome.figures if name.endswith("_per_s")), "counts_per_s")
    curves = {name: percentile_axis(points) for name, points in outcome.curves.items()}
    return "".join(
        [
            f"<section><h2>{escape(result.scenario)} &middot; {escape(result.target)}</h2>",
            _facts(result.machine, result.command),
            _table(["figure", ""], ([name, number(figure)] for name, figure in outcome.figures.items())),
            _notes(notes(result)),
            lines(
                {counted: outcome.timeline},
                f"{counted} over time",
                x_label="s",
                y_label="counts per second",
            ),
            _percentiles(outcome.latencies),
            lines(curves, "latency by percentile", x_label="nines", y_label="microseconds"),
            "</section>",
        ]
    )


def _comparison(value: Mapping[str, Any]) -> str:
    parts = [f"<section><h2>Peers, {value['rounds']} interleaved rounds</h2>"]
    parts.append(_facts(value["machine"], value["command"]))
    parts.append(_notes(f"absent: {name}: {reason}" for name, reason in value["absent"].items()))
    for line in value["lines"]:
        medians = {name: median for name, median in line["medians"].items() if median is not None}
        better = "less is better" if line["less_is_better"] else "more is better"
        parts.append(f"<h3>{escape(line['title'])}</h3><p class=facts>{better}</p>")
        parts.append(bars(medians, line["title"]))
        ratios = [f"{name} {ratio:.2f}" for name, ratio in line["ratios"].items() if ratio is not None]
        parts.append(f"<p>ours / theirs: {escape(', '.join(ratios))}</p>" if ratios else "")
        parts.append(_notes(dict.fromkeys(line["notes"])))
    return "".join([*parts, "</section>"])


def _facts(machine: Mapping[str, Any], command: str) -> str:
    said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())
    return f"<p class=facts>{escape(said)}<br><code>{escape(command)}</code></p>"


def _notes(said: Any) -> str:
    return "".join(f"<p class=note>{escape(line)}</p>" for line in said)


def _percentiles(latencies: Mapping[str, Mapping[str, float]]) -> str:
    if not latencies:
        return ""
    head = ["microseconds", *(column.removesuffix("_us").replace("_", ".") for column in _PERCENTILES)]
    return _table(head, _percentile_rows(latencies))


def _percentile_rows(latencies: Mapping[str, Mapping[str, float]]) -> Iterator[list[str]]:
    for name, summary in latencies.items():
        cells = [number(summary[column]) if column in summary else "-" for column in _PERCENTILES]
        yield [name, *cells]


def _table(head: Sequence[str], body: Any) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{row(head, 'th')}{''.join(row(cells, 'td') for cells in body)}</table>"
