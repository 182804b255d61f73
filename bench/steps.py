"""A rate raised step by step until a bound is passed: where is the knee?

The rate is multiplied from step to step; after the first that passes a bound, two more lie
between it and the last good one. A bound is a condition as of `--fail-if`; there are always
two: more than 1 % of the requests refused, or more than 1 % not sent because the server did
not keep up.
"""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bench.errors import TargetError, UsageError
from bench.gates import Gate, gate, named_figures
from bench.results import Outcome, Step
from bench.scenarios.scenario import Scenario
from bench.session import Session

ALWAYS: Final = (gate("error_share > 0.01"), gate("unsent_share > 0.01"))
REFINEMENTS: Final = 2
MOST_STEPS: Final = 64
_RANGE: Final = re.compile(r"(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)(?::(\d+(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True)
class Steps:
    """The rates to try.

    Attributes:
        first, last: Requests per second, or whatever the scenario's `--rate` is.
        factor: From one to the next.
        bounds: What ends the climb, beside the bounds that always do.
    """

    first: float
    last: float
    factor: float
    bounds: tuple[Gate, ...] = ()

    def rates(self) -> Iterator[float]:
        """Yield the rates, `last` at the end."""
        rate = self.first
        while rate < self.last * (1 - 1e-9):
            yield rate
            rate *= self.factor
        yield self.last


def steps(text: str) -> Steps:
    """Return the steps of `FIRST:LAST[:FACTOR]`; for argparse.

    Raises:
        ArgumentTypeError: That is something else, or has no end.
    """
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is not of the form FIRST:LAST or FIRST:LAST:FACTOR")
    first, last, factor = float(found[1]), float(found[2]), float(found[3] or 2)
    if not 0 < first <= last or factor <= 1:
        raise ArgumentTypeError(f"{text!r}: 0 < FIRST <= LAST, and FACTOR > 1")
    if math.log(last / first, factor) > MOST_STEPS:
        raise ArgumentTypeError(f"{text!r} has more than {MOST_STEPS} steps")
    return Steps(first, last, factor)


def stepped(scenario: Scenario, wanted: Steps) -> Scenario:
    """Return the scenario that finds the knee of another.

    Raises:
        UsageError: The other has no rate to raise.
    """
    if not scenario.has_steps:
        raise UsageError(f"--steps: {scenario.name} has no rate that can be raised")

    def run(session: Session, options: Any) -> Outcome:
        return _Climb(scenario, session, options, (*wanted.bounds, *ALWAYS)).run(wanted)

    return replace(scenario, run=run)


class _Climb:
    """The steps done so far."""

    def __init__(self, scenario: Scenario, session: Session, options: Any, bounds: Sequence[Gate]) -> None:
        self._scenario = scenario
        self._session = session
        self._options = options
        self._bounds = bounds
        self._steps: list[Step] = []
        self._last: Outcome | None = None
        self._good: tuple[float, Outcome] | None = None
        self._bad: float | None = None
        self._partial = False

    def run(self, wanted: Steps) -> Outcome:
        for rate in wanted.rates():
            self._measure(rate)
            if self._bad is not None or self._partial:
                break
        for _ in range(REFINEMENTS):
            if self._good is not None and self._bad is not None and not self._partial:
                self._measure(math.sqrt(self._good[0] * self._bad))
        return self._outcome()

    def _measure(self, rate: float) -> None:
        try:
            # Rooms of its own, so that no step hears of the writes of another.
            session = replace(self._session, token=f"{self._session.token}-{len(self._steps)}")
            outcome: Outcome = self._scenario.run(session, replace(self._options, rate=rate))
        except KeyboardInterrupt:
            if self._last is None:
                raise
            self._partial = True
            return
        except TargetError as wrong:
            if not self._steps:
                raise
            self._bad = rate
            self._steps.append(Step(rate=rate, p50_us=None, p99_us=None, passed=str(wrong)))
            return
        self._last = outcome
        self._partial = outcome.partial
        if self._partial:
            return
        figures = named_figures(outcome)
        judged = [bound.judge(figures) for bound in self._bounds]
        passed = [value for is_met, value in judged if is_met]
        self._steps.append(
            Step(
                rate=round(rate, 3),
                p50_us=figures.get("p50_us"),
                p99_us=figures.get("p99_us"),
                passed="; ".join(passed),
            )
        )
        if passed:
            self._bad = rate
        else:
            self._good = (rate, outcome)

    def _outcome(self) -> Outcome:
        rate, outcome = self._good or (0.0, self._last)
        assert outcome is not None  # noqa: S101  # the first step raises, or has one
        warnings = list(outcome.warnings)
        if self._good is None and not self._partial:
            warnings.append("the first step passed a bound already: the knee is below it")
        elif self._bad is None and not self._partial:
            warnings.append("no step passed a bound: the knee is beyond the last")
        return replace(
            outcome,
            figures={"knee_rate": round(rate, 3), **outcome.figures},
            counted=outcome.rate,
            steps=sorted(self._steps, key=lambda step: step.rate),
            warnings=warnings,
            partial=self._partial,
        )
