"""The climb to the knee: on a scenario of known limits, and on a real server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench.cli import FAILED, main
from bench.errors import TargetError, UsageError
from bench.gates import gate
from bench.histogram import Summary
from bench.load.sockets import Address
from bench.report.page import page
from bench.results import Outcome, read_json
from bench.scenarios.fanout import FANOUT
from bench.scenarios.scenario import Scenario
from bench.session import Session
from bench.steps import Steps, stepped, steps

HERE = Session(address=Address("127.0.0.1", 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    rate: float = 0


def server_with(*, knee: float, breaks_at: float = 1e9, interrupted_at: float = 1e9) -> Scenario:
    """A scenario whose p99 is 1 ms up to the knee, and 1 s beyond it."""

    def run(_session: Session, options: Rate) -> Outcome:
        if options.rate >= breaks_at:
            raise TargetError("nobody answers")
        p99_us = 1000 if options.rate <= knee else 1_000_000
        return Outcome(
            figures={"requests_per_s": options.rate, "error_share": 0.0, "unsent_share": 0.0},
            latencies={"answer": Summary({"p50_us": 500, "p99_us": p99_us})},
            partial=options.rate >= interrupted_at,
        )

    return Scenario(name="made-up", summary="", options=Rate, run=run, has_steps=True)


def climb(scenario: Scenario, wanted: str, *bounds: str) -> Outcome:
    climb = replace(steps(wanted), bounds=tuple(gate(each) for each in bounds))
    outcome: Outcome = stepped(scenario, climb).run(HERE, Rate())
    return outcome


def test_rates_are_multiplied_and_end_with_the_last() -> None:
    assert list(Steps(100, 1000, 2).rates()) == [100, 200, 400, 800, 1000]
    assert list(Steps(5, 5, 2).rates()) == [5]
    assert list(Steps(1, 8, 2).rates()) == [1, 2, 4, 8]


def test_the_knee_is_the_highest_good_rate_and_is_narrowed_down() -> None:
    outcome = climb(server_with(knee=700), "100:10000", "p99_ms > 20")

    assert [round(step.rate) for step in outcome.steps] == [100, 200, 400, 566, 673, 800]
    assert [bool(step.passed) for step in outcome.steps] == [False, False, False, False, False, True]
    assert outcome.figures["knee_rate"] == pytest.approx(672.7, abs=0.1)
    assert outcome.figures["requests_per_s"] == pytest.approx(672.7, abs=0.1)
    assert outcome.steps[-1].passed == "p99_ms = 1000"
    assert outcome.warnings == []


def test_a_knee_outside_of_the_steps_is_said() -> None:
    below = climb(server_with(knee=50), "100:400", "p99_ms > 20")
    beyond = climb(server_with(knee=500), "100:400", "p99_ms > 20")

    assert (below.figures["knee_rate"], len(below.steps)) == (0, 1)
    assert "the first step passed a bound already: the knee is below it" in below.warnings
    assert (beyond.figures["knee_rate"], len(beyond.steps)) == (400, 3)
    assert "no step passed a bound: the knee is beyond the last" in beyond.warnings


def test_a_server_that_breaks_ends_the_climb_but_not_the_run() -> None:
    outcome = climb(server_with(knee=1e9, breaks_at=300), "100:1000")

    assert outcome.figures["knee_rate"] == pytest.approx(282.8, abs=0.1)
    assert outcome.steps[-1].passed == "nobody answers"
    with pytest.raises(TargetError):
        climb(server_with(knee=1e9, breaks_at=1), "100:1000")


def test_an_interrupted_climb_keeps_its_good_steps() -> None:
    outcome = climb(server_with(knee=1e9, interrupted_at=400), "100:1000")

    assert outcome.partial
    assert outcome.figures["knee_rate"] == 200
    assert [step.rate for step in outcome.steps] == [100, 200]


def test_an_interrupt_between_two_windows_keeps_the_steps_before() -> None:
    def run(_session: Session, options: Rate) -> Outcome:
        if options.rate > 100:
            raise KeyboardInterrupt
        return Outcome(figures={"requests_per_s": 1.0, "error_share": 0.0, "unsent_share": 0.0})

    scenario = Scenario(name="made-up", summary="", options=Rate, run=run, has_steps=True)

    outcome = climb(scenario, "100:1000")

    assert outcome.partial
    assert outcome.figures["knee_rate"] == 100
    with pytest.raises(KeyboardInterrupt):
        climb(scenario, "200:1000")


def test_what_has_no_rate_has_no_steps() -> None:
    with pytest.raises(UsageError, match="fanout has no rate"):
        stepped(FANOUT, Steps(1, 2, 2))


@pytest.mark.parametrize("generators", ["1", "2"])
def test_the_steps_of_a_real_server_are_shown_and_charted(
    url: str, generators: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "steps.json"
    brief = [
        "--url",
        url,
        "--generators",
        generators,
        "--connections",
        "4",
        "--duration-s",
        "0.3",
        "--warmup-s",
        "0.1",
    ]
    gates = ["--until", "p99_s > 600", "--fail-if", "knee_rate < 1000000"]

    assert main(["put", *brief, "--steps", "40:160", *gates, "--json", str(file)]) == FAILED

    value = read_json(file)
    # On a busy machine the knee may be anywhere.
    rates = [step["rate"] for step in value["outcome"]["steps"]]
    assert rates[0] == 40
    assert value["outcome"]["figures"]["knee_rate"] in {0, *rates}
    assert "rate" in capsys.readouterr().out
    assert "<figcaption>latency by rate, ms</figcaption>" in page([value])
