"""The differences between two runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.errors import UsageError
from bench.gates import word
from bench.show import number

# Two runs of the same thing on the same machine differ by about this much.
NOISE: Final = 0.05
# On these the runs have to agree, or their figures mean different things.
_SAME_MACHINE: Final = ("processor", "cores", "kernel", "python")


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in both runs.

    Attributes:
        name: Of the figure.
        before: In the first run.
        after: In the second.
    """

    name: str
    before: float
    after: float

    @property
    def ratio(self) -> float | None:
        """After / before; None when there was nothing before."""
        return self.after / self.before if self.before else None

    @property
    def is_noise(self) -> bool:
        """Whether the difference is within the noise of repeated runs."""
        return self.ratio is not None and abs(self.ratio - 1) <= NOISE


@dataclass(frozen=True, slots=True)
class Changes:
    """All figures common to both runs, and warnings about their comparability."""

    changes: tuple[Change, ...]
    warnings: tuple[str, ...]

    def named_figures(self) -> dict[str, float]:
        """Return the later figures, and after / before as `NAME_ratio`, under the names of conditions."""
        found: dict[str, float] = {}
        for change in self.changes:
            found[word(change.name)] = change.after
            if change.ratio is not None:
                found[f"{word(change.name)}_ratio"] = change.ratio
        return found


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    """Return what changed.

    Raises:
        UsageError: The two measure different things.
    """
    if before["kind"] != after["kind"]:
        raise UsageError(f"a {before['kind']} file cannot be compared with a {after['kind']} file")
    if before.get("scenario") != after.get("scenario"):
        raise UsageError(f"{before['scenario']} cannot be compared with {after['scenario']}")
    old, new = _figures(before), _figures(after)
    changes = tuple(Change(name, old[name], new[name]) for name in old if name in new)
    return Changes(changes, tuple(_differences(before, after)))


def _figures(value: Mapping[str, Any]) -> dict[str, float]:
    if value["kind"] == "peers":
        return {
            f"{line['name']} · {peer}": median
            for line in value["lines"]
            for peer, median in line["medians"].items()
            if median is not None
        }
    outcome = value["outcome"]
    percentiles = {
        f"{what} {name}": number
        for what, summary in outcome["latencies"].items()
        for name, number in summary.items()
        if name in {"p50_us", "p99_us", "p99_9_us"}
    }
    return {**outcome["figures"], **percentiles}


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in _SAME_MACHINE:
        old, new = before["machine"].get(name), after["machine"].get(name)
        if old != new:
            yield f"the {name} differs: {old} and {new}"
    old_options, new_options = before.get("options", {}), after.get("options", {})
    for name in old_options:
        if old_options[name] != new_options.get(name):
            yield f"--{name.replace('_', '-')} differs: {old_options[name]} and {new_options.get(name)}"


def show_changes(console: Console, found: Changes) -> None:
    """Print the changes; those within the noise are dim."""
    table = Table(box=None, padding=(0, 2, 0, 2))
    for column in ("", "before", "after", "after / before"):
        table.add_column(column, justify="right" if column else "left")
    for change in found.changes:
        ratio = "-" if change.ratio is None else f"{change.ratio:.3f}"
        style = "dim" if change.is_noise else ""
        table.add_row(change.name, number(change.before), number(change.after), ratio, style=style)
    console.print(table)
    for line in found.warnings:
        console.print(f"[yellow]! {line}[/]", highlight=False)
