"""Print a result as a table."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table

from bench.results import Result

# More than this of the measured cores gone to somebody else is worth a warning.
CONTENDED: Final = 0.05
MIB: Final = 1024 * 1024
_COLUMNS: Final = ("count", "p50_us", "p90_us", "p99_us", "p99_9_us", "max_us")


def number(value: float) -> str:
    """Format a number; large ones without decimals."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.2f}"


def quantity(name: str, value: float) -> str:
    """Format a figure with the unit that its name ends or begins with."""
    if name.endswith("_us"):
        return f"{number(value / 1000)} ms"
    if name.endswith("_per_s"):
        return f"{number(value)} /s"
    if name.startswith("bytes"):
        return f"{number(value / MIB)} MiB" if abs(value) >= MIB else f"{number(value)} B"
    return number(value)


def show_result(console: Console, result: Result) -> None:
    """Print figures, percentiles and warnings."""
    outcome = result.outcome
    console.print(f"[bold]{result.scenario}[/] · {result.target}", highlight=False)
    width = max(24, *map(len, outcome.figures))
    for name, value in outcome.figures.items():
        console.print(f"  {name:<{width}}{number(value):>16}", highlight=False)
    if outcome.latencies:
        console.print(_percentiles(result))
    if outcome.steps:
        console.print(_steps(result))
    for verdict in outcome.verdicts:
        said = "[red]failed[/]" if verdict.fails else "[green]passed[/]"
        console.print(f"  {said} {verdict.text}", highlight=False)
    for line in notes(result):
        console.print(f"  [yellow]! {line}[/]", highlight=False)


def notes(result: Result) -> list[str]:
    """Return the warnings, the generator's own included."""
    outcome = result.outcome
    said = list(outcome.warnings)
    if outcome.partial:
        said.append("interrupted: the figures are of what was measured until then")
    if outcome.bottleneck:
        share = f"{outcome.cpu_share or 0:.0%}"
        said.append(f"the load generator was the bottleneck ({share} of its core): the server may be faster")
    if outcome.others_share > CONTENDED:
        said.append(
            f"other programs used {outcome.others_share:.0%} of the measured cores: "
            "on an idle machine the figures are better"
        )
    return said


def _steps(result: Result) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 2))
    for column in ("rate", "p50", "p99"):
        table.add_column(column, justify="right")
    table.add_column("")
    for step in result.outcome.steps:
        times = ["-" if each is None else quantity("p_us", each) for each in (step.p50_us, step.p99_us)]
        table.add_row(number(step.rate), *times, step.passed or "good")
    return table


def _percentiles(result: Result) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 2))
    table.add_column("microseconds")
    for column in _COLUMNS:
        table.add_column(column.removesuffix("_us").replace("_", "."), justify="right")
    for name, summary in result.outcome.latencies.items():
        cells = [number(summary[column]) if column in summary else "-" for column in _COLUMNS]
        table.add_row(name, *cells)
    return table
