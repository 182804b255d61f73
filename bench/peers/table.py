"""The comparison as a table, for the terminal and for a README."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.peers.catalogue import by_name
from bench.peers.comparison import OURSELVES, Comparison, ComparisonRow
from bench.show import CONTENDED, number

_NOTHING: Final = "-"


def show_comparison(console: Console, comparison: Comparison) -> None:
    """Print figures, ratios, missing peers and warnings."""
    table = Table(
        title=f"ours / theirs, medians of {comparison.rounds} interleaved rounds", title_justify="left"
    )
    table.add_column("")
    for name in _names(comparison):
        table.add_column(by_name(name).title, justify="right")
    for line in comparison.lines:
        table.add_row(line.title, *(_cell(line, name, "\n") for name in _names(comparison)))
    console.print(table)
    for note in notes(comparison):
        console.print(f"[yellow]! {note}[/]", highlight=False)


def markdown(comparison: Comparison) -> str:
    """Return the same as a Markdown table, with date, machine and command."""
    names = _names(comparison)
    machine = comparison.machine
    rows = [
        "| | " + " | ".join(by_name(name).title for name in names) + " |",
        "|---|" + "---:|" * len(names),
        *(
            f"| {line.title} | " + " | ".join(_cell(line, name, " ") for name in names) + " |"
            for line in comparison.lines
        ),
    ]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['kernel']}, {machine['python']}"
    head = f"{machine['date'][:10]}, {where}; `{comparison.command}`"
    said = [
        f"Medians of {comparison.rounds} interleaved rounds; in brackets ours / theirs. {head}.",
        *notes(comparison),
    ]
    return "\n".join([*rows, "", *said, ""])


def notes(comparison: Comparison) -> Iterator[str]:
    """Yield the missing peers and the warnings, each once."""
    if comparison.partial:
        yield "interrupted: not all rounds were done"
    for name, reason in comparison.absent.items():
        yield f"absent: {by_name(name).title}: {reason}"
    for line in comparison.lines:
        for note in dict.fromkeys(line.notes):
            yield f"{line.name}: {note}"
    share = max((line.others_share for line in comparison.lines), default=0.0)
    if share > CONTENDED:
        yield f"other programs used up to {share:.0%} of the measured cores: measure again on an idle machine"


def _names(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(name for line in comparison.lines for name in line.values))


def _cell(line: ComparisonRow, name: str, between: str) -> str:
    median, ratio = line.median(name), line.ratio(name)
    if median is None:
        return _NOTHING
    if name == OURSELVES or ratio is None:
        return number(median)
    return f"{number(median)}{between}({ratio:.2f})"
