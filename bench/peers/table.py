"""The comparison as a table, for the terminal and for a README."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.peers.catalogue import by_name
from bench.peers.contest import OURSELVES, Contest, Line
from bench.show import CONTENDED, number

_NOTHING: Final = "-"


def show_contest(console: Console, contest: Contest) -> None:
    """Print figures, ratios, who was absent, and what else should be known."""
    table = Table(
        title=f"ours / theirs, medians of {contest.rounds} interleaved rounds", title_justify="left"
    )
    table.add_column("")
    for name in _names(contest):
        table.add_column(by_name(name).title, justify="right")
    for line in contest.lines:
        table.add_row(line.title, *(_cell(line, name, "\n") for name in _names(contest)))
    console.print(table)
    for note in notes(contest):
        console.print(f"[yellow]! {note}[/]", highlight=False)


def markdown(contest: Contest) -> str:
    """Return the same as a Markdown table, with date, machine and command."""
    names = _names(contest)
    machine = contest.machine
    rows = [
        "| | " + " | ".join(by_name(name).title for name in names) + " |",
        "|---|" + "---:|" * len(names),
        *(
            f"| {line.title} | " + " | ".join(_cell(line, name, " ") for name in names) + " |"
            for line in contest.lines
        ),
    ]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['kernel']}, {machine['python']}"
    head = f"{machine['date'][:10]}, {where}; `{contest.command}`"
    said = [
        f"Medians of {contest.rounds} interleaved rounds; in brackets ours / theirs. {head}.",
        *notes(contest),
    ]
    return "\n".join([*rows, "", *said, ""])


def notes(contest: Contest) -> Iterator[str]:
    """Yield who was absent and what was noted, each once."""
    for name, reason in contest.absent.items():
        yield f"absent: {by_name(name).title}: {reason}"
    for line in contest.lines:
        for note in dict.fromkeys(line.notes):
            yield f"{line.name}: {note}"
    share = max((line.others_share for line in contest.lines), default=0.0)
    if share > CONTENDED:
        yield f"other programs used up to {share:.0%} of the measured cores: measure again on an idle machine"


def _names(contest: Contest) -> list[str]:
    return list(dict.fromkeys(name for line in contest.lines for name in line.values))


def _cell(line: Line, name: str, between: str) -> str:
    median, ratio = line.median(name), line.ratio(name)
    if median is None:
        return _NOTHING
    if name == OURSELVES or ratio is None:
        return number(median)
    return f"{number(median)}{between}({ratio:.2f})"
