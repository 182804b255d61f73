"""The result of a run, and its JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from bench.errors import UsageError
from bench.histogram import Summary
from bench.load.window import WindowResult

FORMAT: Final = 1
Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One thing a run is held to.

    Attributes:
        text: What was asked or found, for people.
        fails: Whether the command's exit status should say so.
    """

    text: str
    fails: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of `--steps`.

    Attributes:
        rate: What was asked for.
        p50_us, p99_us: Of what the scenario times first; None if nothing was.
        passed: The bounds that it passed; "" for a good step.
    """

    rate: float
    p50_us: float | None
    p99_us: float | None
    passed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The figures of one scenario.

    Attributes:
        figures: Name with its unit (`deliveries_per_s`) → number; the first is the headline.
        latencies: What was timed → percentiles in microseconds.
        curves: What was timed → (percentile, microseconds) points.
        timeline: (seconds, counts per second of the figure `counted`).
        counted: Name of the figure that the time line is of; "" if it is the first that is a rate.
        cpu_share: Of the generator's core; None where the generator is what is measured.
        server_share: Of the server's processes, in cores; None when they are not known.
        bottleneck: The generator had no time left: the server may be faster than this.
        others_share: Share of the measured cores that went to programs outside the measurement.
        warnings: One line each, for people.
        verdicts: What the scenario, or `--fail-if`, held the run to.
        resources: (seconds, cores, resident bytes) of the server's processes; () when they are not known.
        steps: Those of `--steps`, by their rate; the other attributes are of the last good one then.
        partial: SIGINT ended the run early; the figures are of what was measured until then.
    """

    figures: Mapping[str, float]
    latencies: Mapping[str, Summary] = field(default_factory=dict)
    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    timeline: Sequence[tuple[float, float]] = ()
    counted: str = ""
    cpu_share: float | None = None
    server_share: float | None = None
    bottleneck: bool = False
    others_share: float = 0.0
    warnings: Sequence[str] = ()
    verdicts: Sequence[Verdict] = ()
    resources: Sequence[tuple[float, float, int]] = ()
    steps: Sequence[Step] = ()
    partial: bool = False

    @property
    def rate(self) -> str:
        """Name of the figure that the time line is of."""
        rates = (name for name in self.figures if name.endswith("_per_s"))
        return self.counted or next(rates, "counts_per_s")

    @property
    def headline(self) -> tuple[str, float]:
        """The first figure."""
        return next(iter(self.figures.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An outcome with its date, machine, command and versions.

    Attributes:
        scenario: Name of the scenario.
        target: URL, or what was started.
        options: The scenario's options, all of them.
        machine: `bench.machine.facts()`.
        command: The command line.
        outcome: What came out.
    """

    scenario: str
    target: str
    options: Mapping[str, Scalar]
    machine: Mapping[str, Scalar]
    command: str
    outcome: Outcome

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `read` understands."""
        return {"greenroom_bench": FORMAT, "kind": "result", **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the result behind a JSON object made by `as_json`."""
        outcome = dict(value["outcome"])
        outcome["verdicts"] = [Verdict(**each) for each in outcome.get("verdicts", ())]
        outcome["steps"] = [Step(**each) for each in outcome.get("steps", ())]
        return cls(
            scenario=value["scenario"],
            target=value["target"],
            options=value["options"],
            machine=value["machine"],
            command=value["command"],
            outcome=Outcome(**outcome),
        )


def generator_facts(measured: WindowResult) -> dict[str, Any]:
    """Return an outcome's fields about the generator itself."""
    return {
        "timeline": measured.timeline,
        "cpu_share": round(measured.cpu_share, 3),
        "server_share": None if measured.server_share is None else round(measured.server_share, 3),
        "bottleneck": measured.is_bottleneck,
        "resources": measured.resources,
        "partial": measured.interrupted,
    }


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file.

    Raises:
        UsageError: It cannot be written.
    """
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file.

    Raises:
        UsageError: It cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as wrong:
        raise UsageError(f"cannot write {path}: {wrong.strerror}") from wrong


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file that `greenroom bench` has written.

    Raises:
        UsageError: It cannot be read, or is something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as wrong:
        raise UsageError(f"cannot read {path}: {wrong.strerror}") from wrong
    except ValueError:
        raise UsageError(f"{path} is not JSON") from None
    if not isinstance(value, dict) or value.get("greenroom_bench") != FORMAT:
        raise UsageError(f"{path} was not written by greenroom bench")
    return value
