"""Thresholds of `--fail-if`: a figure of the run, a comparison, a limit.

    p99_ms > 20                  of what is timed first: deliveries, or answers
    answer_p99_9_us >= 5000      of one thing that is timed, by its name in the table
    requests_per_s < 40000       a figure
    p99 > 20 ms                  the unit at the number

Latencies are taken in us, ms or s; all else as the table shows it.
"""

from __future__ import annotations

import operator
import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.errors import UsageError
from bench.results import Outcome, Verdict
from bench.show import MIB

_CONDITION: Final = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?(?:[eE]\d+)?)\s*(us|ms|s)?\s*")
_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MICROSECONDS: Final = {"us": 1, "ms": 1_000, "s": 1_000_000}


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition under which a run fails.

    Attributes:
        text: As it was written.
        name: Of the figure, with its unit.
        comparison: One of `<`, `<=`, `>`, `>=`.
        limit: In the unit of the name.
    """

    text: str
    name: str
    comparison: str
    limit: float

    def judge(self, figures: Mapping[str, float]) -> tuple[bool, str]:
        """Return whether the condition is met, and by what value.

        Raises:
            UsageError: There is no such figure; the message lists those there are.
        """
        value = _value(self.name, figures)
        return _COMPARISONS[self.comparison](value, self.limit), f"{self.name} = {value:g}"


def gate(text: str) -> Gate:
    """Return the gate that `text` describes; for argparse.

    Raises:
        ArgumentTypeError: `text` is no condition.
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is not of the form 'FIGURE > NUMBER', as in 'p99_ms > 20'")
    name, comparison, limit, unit = found.groups()
    return Gate(text.strip(), f"{name}_{unit}" if unit else name, comparison, float(limit))


def judged(figures: Mapping[str, float], gates: Sequence[Gate]) -> list[Verdict]:
    """Return the verdicts of all gates.

    Raises:
        UsageError: One names a figure that is not there.
    """
    found = [(each, *each.judge(figures)) for each in gates]
    return [Verdict(text=f"{value} (--fail-if {each.text!r})", fails=is_met) for each, is_met, value in found]


def word(name: str) -> str:
    """Return a name for people as a condition spells it: `answer, corrected` is `answer_corrected`."""
    return re.sub(r"\W+", "_", name)


def named_figures(outcome: Outcome) -> dict[str, float]:
    """Return every number of an outcome under the name that a gate may use.

    What is timed first has short names too: `p99_us`. Of a server whose process is known there are
    `server_cores` and `server_memory_max_mib`.
    """
    found: dict[str, float] = {}
    for nth, (what, summary) in enumerate(outcome.latencies.items()):
        begin = word(what)
        found |= {f"{begin}_{name}": value for name, value in summary.items()}
        if not nth:
            found |= summary
    if outcome.server_share is not None:
        found["server_cores"] = outcome.server_share
    if outcome.resources:
        found["server_memory_max_mib"] = max(resident for _, _, resident in outcome.resources) / MIB
    return found | dict(outcome.figures)


def _value(name: str, figures: Mapping[str, float]) -> float:
    if name in figures:
        return figures[name]
    base, _, unit = name.rpartition("_")
    microseconds = figures.get(f"{base}_us")
    if unit not in _MICROSECONDS or microseconds is None:
        raise UsageError(f"there is no figure {name}; there are {', '.join(sorted(figures))}")
    return microseconds / _MICROSECONDS[unit]
