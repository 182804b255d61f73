from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli import main
from bench.errors import TargetError
from bench.generators import merged, run_by_many
from bench.histogram import Latencies, Summary
from bench.load.engine import Engine
from bench.results import Outcome
from bench.scenarios.idle import IDLE, IdleOptions
from bench.scenarios.scenario import Scenario
from bench.session import Session

BRIEF = ["--duration-s", "0.3", "--warmup-s", "0.1", "--quiet"]


def timed(*microseconds: int) -> Summary:
    latencies = Latencies()
    latencies.add_all(each * 1000 for each in microseconds)
    return latencies.summary()


def outcome(per_s: float, *microseconds: int, **more: float) -> Outcome:
    return Outcome(
        figures={"delivery_p99_us": 0.0, "updates_per_s": per_s, "bytes_per_stream": 800.0, **more},
        latencies={"delivery": timed(*microseconds)},
        curves={"delivery": []},
        timeline=[(0.5, per_s), (1.0, per_s)],
        cpu_share=per_s / 100,
        server_share=0.5,
    )


def test_rates_add_up_and_percentiles_are_those_of_all_durations() -> None:
    both = merged([outcome(10, *[100] * 98), outcome(30, 9000, 9000)])

    assert both.figures["updates_per_s"] == 40
    assert both.figures["bytes_per_stream"] == 800
    assert both.latencies["delivery"] == timed(*[100] * 98, 9000, 9000)
    # Neither the p99 of one of them nor the mean of both.
    assert both.figures["delivery_p99_us"] == pytest.approx(9000, rel=0.01)
    assert both.curves["delivery"][-1][1] == pytest.approx(9000, rel=0.01)
    assert list(both.timeline) == [(0.5, 40), (1.0, 40)]
    assert (both.cpu_share, both.server_share) == (0.3, 0.5)


def test_a_generator_that_timed_nothing_changes_no_percentile() -> None:
    both = merged([outcome(10, 100), outcome(0)])

    assert both.latencies["delivery"] == timed(100)


def test_several_generators_make_one_result(url: str, tmp_path: Path) -> None:
    file = tmp_path / "spread.json"
    spread = ["spread", "--rooms", "20", "--streams", "2", "--connections", "4", "--rate", "200"]

    assert main([*spread, *BRIEF, "--url", url, "--generators", "3", "--json", str(file)]) == 0

    made = json.loads(file.read_text())["outcome"]
    assert made["figures"]["writes_per_s"] == pytest.approx(600, rel=0.3)
    assert made["figures"]["updates_per_s"] == pytest.approx(1200, rel=0.3)
    assert made["latencies"]["answer"]["count"] > 100


def test_each_url_has_a_generator(url: str, tmp_path: Path) -> None:
    file = tmp_path / "put.json"

    assert main(["put", "--rate", "100", *BRIEF, "--url", url, "--url", url, "--json", str(file)]) == 0

    result = json.loads(file.read_text())
    assert result["outcome"]["figures"]["requests_per_s"] == pytest.approx(200, rel=0.3)
    assert result["target"] == f"{url} {url}"


def test_idle_streams_of_all_generators_share_the_memory(session: Session) -> None:
    many = run_by_many(IDLE, 2, [])
    found = many.run(session, IdleOptions(streams=50, settle_s=0.05, warmup_streams=5)).figures

    grown = found["bytes_during"] - found["bytes_before"]
    assert found["bytes_per_stream"] == pytest.approx(grown / 100, abs=1)


def test_a_generator_that_fails_or_dies_fails_the_run(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_session: Session, _options: object) -> Outcome:
        raise TargetError("it is broken")

    def die(_session: Session, _options: object) -> Outcome:
        raise SystemExit(3)

    for run, said in ((fail, "it is broken"), (die, "without a result")):
        scenario = Scenario(name="x", summary="", options=IdleOptions, run=run)
        with pytest.raises(TargetError, match=said):
            run_by_many(scenario, 2, []).run(session, None)


def test_an_interrupt_ends_what_all_generators_measure(session: Session) -> None:
    def measure(session: Session, _options: object) -> Outcome:
        with Engine() as engine:
            if session.seed == 1:
                engine.at(time.perf_counter_ns() + 300_000_000, lambda: os.kill(first, signal.SIGINT))
            measured = session.measure(engine, lambda: 1, duration_s=60)
        return Outcome(figures={"windows": 1}, partial=measured.interrupted)

    first = os.getpid()
    scenario = Scenario(name="x", summary="", options=IdleOptions, run=measure)
    outcome = run_by_many(scenario, 2, []).run(replace(session, pid=None), None)

    assert (outcome.partial, outcome.figures) == (True, {"windows": 2})


def test_generators_wait_for_one_another(session: Session) -> None:
    def meet(session: Session, _options: object) -> Outcome:
        with Engine() as engine:
            for _ in range(3):
                session.meet(engine)
        return Outcome(figures={"meetings": 3})

    scenario = Scenario(name="x", summary="", options=IdleOptions, run=meet)
    assert run_by_many(scenario, 3, []).run(session, None).figures == {"meetings": 9}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mixed", "--generators", "2"], "one generator only"),
        (["put", "--url", "http://127.0.0.1:1", "--url", "ftp://x"], "not of the form"),
    ],
)
def test_what_cannot_be_merged_or_reached_is_wrong_use(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2

    assert said in capsys.readouterr().err
