"""One self-contained HTML page from any number of JSON files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from bench.report.charts import PERCENTILE_TICKS, Points, bars, lines, percentile_axis
from bench.results import Result, Step, Verdict
from bench.show import MIB, notes, number, quantity

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
h2, h3, p, code, li, td:first-child { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .15rem .8rem .15rem 0; text-align: right; vertical-align: top; }
td:first-child, th:first-child { text-align: left; min-width: 6em; }
figure { margin: 1rem 0; } figcaption { font-weight: 600; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: .2rem 0; padding: 0; }
.legend i { display: inline-block; width: 1.4em; height: .25em; margin-right: .4em; vertical-align: middle; }
svg { display: block; width: 100%; max-width: 40rem; margin: .4rem 0; }
svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
@media (max-width: 34rem) { svg text { font-size: 15px; } td, th { padding-right: .5rem; } }
.facts, code { opacity: .75; font-size: .85rem; } .note { color: #b06000; } .failed { color: #c9303a; }
"""
_PERCENTILES: Final = ("count", "p50_us", "p90_us", "p99_us", "p99_9_us", "max_us")
_NOTHING: Final = "-"


def page(values: Sequence[Mapping[str, Any]]) -> str:
    """Return the page for results and comparisons, in the order given, with a summary on top.

    Results of one scenario, of several servers say, are drawn into common charts first.
    """
    results = [Result.from_json(value) for value in values if value["kind"] == "result"]
    single = iter(results)
    sections = "".join(
        _comparison(value) if value["kind"] == "peers" else _result(next(single)) for value in values
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Greenroom bench</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><h1>Greenroom bench</h1>{_summary(results)}{_together(results)}{sections}</body></html>\n"
    )


def _summary(results: Sequence[Result]) -> str:
    """Return one line a result: what it is about, and whether it passed."""
    if not results:
        return ""
    return _table(["run", "figure", "p99", "verdict"], map(_summary_row, results))


def _summary_row(result: Result) -> list[str]:
    outcome = result.outcome
    name, value = outcome.headline
    first = next(iter(outcome.latencies.items()), None)
    p99 = _NOTHING
    if first is not None and "p99_us" in first[1]:
        p99 = f"{quantity('p99_us', first[1]['p99_us'])} {first[0]}"
    failed = sum(verdict.fails for verdict in outcome.verdicts)
    verdict = f"{failed} failed" if failed else "passed" if outcome.verdicts else _NOTHING
    words = name.removesuffix("_per_s").removesuffix("_us").replace("_", " ")
    return [f"{result.scenario} · {result.target}", f"{words} {quantity(name, value)}", p99, verdict]


def _together(results: Sequence[Result]) -> str:
    """Return charts for each scenario that was run more than once: one axis for all runs."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.scenario, []).append(result)
    return "".join(_group(scenario, group) for scenario, group in groups.items() if len(group) > 1)


def _group(scenario: str, group: Sequence[Result]) -> str:
    runs = dict(zip(_titles(group), (result.outcome for result in group), strict=True))
    names = dict.fromkeys(name for outcome in runs.values() for name in outcome.figures)
    body = [
        [
            name,
            *(
                quantity(name, run.figures[name]) if name in run.figures else _NOTHING
                for run in runs.values()
            ),
        ]
        for name in names
    ]
    timed = dict.fromkeys(what for outcome in runs.values() for what in outcome.curves)
    return "".join(
        [
            f"<section><h2>{escape(scenario)}, {len(group)} runs</h2>",
            _table(["", *runs], body),
            _timelines({title: (outcome.rate, outcome.timeline) for title, outcome in runs.items()}),
            _resources({title: outcome.resources for title, outcome in runs.items()}),
            *(
                _curves({title: run.curves.get(what, ()) for title, run in runs.items()}, what)
                for what in timed
            ),
            "</section>",
        ]
    )


def _titles(group: Sequence[Result]) -> Iterator[str]:
    """Yield the target of each run, numbered where it is the same."""
    seen: Counter[str] = Counter()
    for result in group:
        seen[result.target] += 1
        nth = seen[result.target]
        yield result.target if nth == 1 else f"{result.target} ({nth})"


def _result(result: Result) -> str:
    outcome = result.outcome
    return "".join(
        [
            f"<section><h2>{escape(result.scenario)} &middot; {escape(result.target)}</h2>",
            _facts(result.machine, result.command),
            "".join(map(_verdict, outcome.verdicts)),
            _table(
                ["figure", ""], ([name, quantity(name, value)] for name, value in outcome.figures.items())
            ),
            _steps(outcome.steps),
            _notes(notes(result)),
            _timelines({outcome.rate: (outcome.rate, outcome.timeline)}),
            _resources({"server": outcome.resources}),
            _percentiles(outcome.latencies),
            _curves(outcome.curves, ""),
            "</section>",
        ]
    )


def _verdict(verdict: Verdict) -> str:
    said = "failed" if verdict.fails else "passed"
    return f"<p class={said}>{said}: {escape(verdict.text)}</p>"


def _steps(steps: Sequence[Step]) -> str:
    """Return the latencies of all steps, as a chart over the rate and as a table."""
    if not steps:
        return ""
    chart = lines(
        {
            "p50": [(step.rate, step.p50_us / 1000) for step in steps if step.p50_us is not None],
            "p99": [(step.rate, step.p99_us / 1000) for step in steps if step.p99_us is not None],
        },
        "latency by rate",
        x_label="rate",
        y_label="ms",
    )
    body = [
        [
            number(step.rate),
            *(_NOTHING if each is None else quantity("p_us", each) for each in (step.p50_us, step.p99_us)),
            step.passed or "good",
        ]
        for step in steps
    ]
    return chart + _table(["rate", "p50", "p99", "bounds"], body)


def _timelines(runs: Mapping[str, tuple[str, Points]]) -> str:
    """Return the rates of runs over time: run → (figure, points)."""
    counted = " and ".join(dict.fromkeys(figure for figure, _ in runs.values()))
    points = {title: line for title, (_, line) in runs.items()}
    return lines(points, f"{counted} over time", x_label="seconds", y_label="per second")


def _resources(runs: Mapping[str, Sequence[tuple[float, float, int]]]) -> str:
    """Return the servers' processor time and memory over time."""
    cores = {title: [(at_s, used) for at_s, used, _ in samples] for title, samples in runs.items()}
    memory = {title: [(at_s, size / MIB) for at_s, _, size in samples] for title, samples in runs.items()}
    return lines(cores, "processor time", x_label="seconds", y_label="cores") + lines(
        memory, "resident memory", x_label="seconds", y_label="MiB"
    )


def _curves(curves: Mapping[str, Points], what: str) -> str:
    """Return latencies by percentile, in milliseconds."""
    stretched = {
        name: percentile_axis([(share, microseconds / 1000) for share, microseconds in points])
        for name, points in curves.items()
    }
    title = f"{what} latency by percentile".strip()
    return lines(stretched, title, x_label="percentile", y_label="ms", x_ticks=PERCENTILE_TICKS)


def _comparison(value: Mapping[str, Any]) -> str:
    parts = [f"<section><h2>Peers, {value['rounds']} interleaved rounds</h2>"]
    parts.append(_facts(value["machine"], value["command"]))
    if value.get("partial"):
        parts.append(_notes(["interrupted: not all rounds were done"]))
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
    head = ["milliseconds", *(column.removesuffix("_us").replace("_", ".") for column in _PERCENTILES)]
    return _table(head, _percentile_rows(latencies))


def _percentile_rows(latencies: Mapping[str, Mapping[str, float]]) -> Iterator[list[str]]:
    for name, summary in latencies.items():
        yield [name, *(_percentile(summary, column) for column in _PERCENTILES)]


def _percentile(summary: Mapping[str, float], column: str) -> str:
    if column not in summary:
        return _NOTHING
    return number(summary[column] / 1000 if column.endswith("_us") else summary[column])


def _table(head: Sequence[str], body: Any) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    rows = "".join(row(cells, "td") for cells in body)
    return f"<div class=wide><table>{row(head, 'th')}{rows}</table></div>"
