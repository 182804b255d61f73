"""Thresholds: what they mean, and the exit status they give a run."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from bench.cli import FAILED, main
from bench.errors import UsageError
from bench.gates import gate, named_figures
from bench.histogram import Summary
from bench.results import Outcome

OUTCOME = Outcome(
    figures={"requests_per_s": 1000.0, "error_share": 0.0},
    latencies={
        "delivery": Summary(p99_us=12_000, p99_9_us=900),
        "answer, corrected": Summary(p99_us=2_000_000),
    },
)


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("p99_ms > 12", False),
        ("p99_ms >= 12", True),
        ("p99_us>11999.5", True),
        ("p99 > 11 ms", True),
        ("p99 > 11999 us", True),
        ("p99_9_us < 1e3", True),
        ("answer_corrected_p99_s >= 2", True),
        ("answer_corrected_p99_s < 2", False),
        ("delivery_p99_us <= 12000", True),
        ("requests_per_s < 1000", False),
        ("requests_per_s <= 1000", True),
        ("error_share > 0.01", False),
    ],
)
def test_a_condition_is_judged_in_its_unit(text: str, fails: bool) -> None:
    assert gate(text).judge(named_figures(OUTCOME))[0] is fails


@pytest.mark.parametrize("text", ["", "p99_ms", "p99_ms > ", "> 20", "p99_ms = 20", "p99 > 20 h", "p99 > x"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not of the form"):
        gate(text)


def test_an_unknown_figure_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError) as refused:
        gate("p98_ms > 1").judge(named_figures(OUTCOME))

    assert "there is no figure p98_ms" in str(refused.value)
    for name in named_figures(OUTCOME):
        assert name in str(refused.value)


BRIEF = ["--duration-s", "0.1", "--warmup-s", "0", "--quiet"]


def test_a_run_that_meets_a_condition_ends_with_a_status_of_its_own(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "put.json"
    gates = ["--fail-if", "p99_s > 600", "--fail-if", "requests_per_s > 0"]

    assert main(["put", "--url", url, *BRIEF, *gates, "--json", str(file)]) == FAILED

    assert "greenroom bench: failed: requests_per_s = " in capsys.readouterr().err
    verdicts = json.loads(file.read_text())["outcome"]["verdicts"]
    assert [verdict["fails"] for verdict in verdicts] == [False, True]


def test_a_run_that_meets_no_condition_is_good(url: str) -> None:
    assert main(["put", "--url", url, *BRIEF, "--fail-if", "p99_s > 600"]) == 0


def test_a_wrong_name_does_not_cost_the_figures(url: str, tmp_path: Path) -> None:
    file = tmp_path / "put.json"

    assert main(["put", "--url", url, *BRIEF, "--fail-if", "p98 > 1 ms", "--json", str(file)]) == 2

    assert json.loads(file.read_text())["outcome"]["figures"]["requests_per_s"] > 0
