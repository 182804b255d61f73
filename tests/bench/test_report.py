from __future__ import annotations

import copy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.cli import FAILED, main
from bench.errors import UsageError
from bench.histogram import Summary
from bench.report.charts import bars, lines, percentile_axis
from bench.report.compare import Change, compare
from bench.report.page import page
from bench.results import Outcome, Result, Verdict, read_json, write_json
from bench.show import show_result

MACHINE: dict[str, str | int | float | bool | None] = {
    "processor": "Test",
    "cores": 2,
    "kernel": "6",
    "python": "CPython 3",
    "date": "2026-11-21T08:00:00Z",
}
VOID = {"meta", "br", "rect", "path", "polyline"}


def result(
    per_s: float = 1000, *, scenario: str = "put", target: str = "http://<here>", **outcome: Any
) -> Result:
    summary = Summary(count=10, p50_us=100, p90_us=200, p99_us=300, p99_9_us=400, max_us=500)
    made = Outcome(
        figures={"requests_per_s": per_s, "reconnects": 0},
        latencies={"answer": summary},
        curves={"answer": [(0.0, 50.0), (50.0, 100.0), (99.0, 300.0), (100.0, 500.0)]},
        **{"cpu_share": 0.5, "timeline": [(0.5, 900.0), (1.0, 1100.0)], **outcome},
    )
    return Result(
        scenario=scenario,
        target=target,
        options={"connections": 32},
        machine=MACHINE,
        command="greenroom bench put",
        outcome=made,
    )


def peers() -> dict[str, Any]:
    line = {
        "name": "put",
        "title": "PUT/s & more",
        "less_is_better": False,
        "values": {},
        "notes": ["node: it fell over"],
        "medians": {"greenroom": 100.0, "node": 50.0, "nchan": None},
        "ratios": {"node": 2.0, "nchan": None},
    }
    return {
        "greenroom_bench": 1,
        "kind": "peers",
        "lines": [line],
        "absent": {"otp": "escript is not installed"},
        "rounds": 3,
        "machine": MACHINE,
        "command": "greenroom bench peers",
    }


class Checker(HTMLParser):
    """Holds a page to being well nested and to asking nothing of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        assert not {"src", "href", "onload"} & {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert not checker.open
    return checker


def test_the_page_is_well_formed_and_needs_nothing_else() -> None:
    text = page([result().as_json(), peers()])

    seen = checked(text)

    assert seen.seen.count("svg") == 3
    assert "script" not in seen.seen
    assert "http://<here>" in seen.text
    assert "PUT/s & more" in seen.text
    assert "absent: otp: escript is not installed" in seen.text
    assert "node 2.00" in seen.text
    assert 'aria-label="requests_per_s over time"' in text


def test_runs_of_one_scenario_share_their_charts() -> None:
    fast = result(3000, target="node", timeline=[(0.5, 2900.0), (1.0, 3100.0)])

    text = page([result().as_json(), fast.as_json(), fast.as_json(), result(scenario="get").as_json()])

    seen = checked(text)
    assert "put, 3 runs" in seen.text
    common = text[text.index("put, 3 runs") :]
    first = common[: common.index("</figure>")]
    assert first.count("<polyline") == 3
    # One axis: a thousand is a third as high as three thousand.
    heights = [float(line.split('"')[0].split(",")[-1]) for line in first.split('points="')[1:]]
    assert (198 - heights[0]) / (198 - heights[1]) == pytest.approx(1100 / 3100, rel=0.01)
    for name in ("http://<here>", "node", "node (2)"):
        assert name in seen.text
    assert "get, " not in seen.text


def test_the_page_begins_with_a_summary_in_units() -> None:
    failed = result(verdicts=[Verdict(text="p99_us = 300 (--fail-if 'p99_us > 1')", fails=True)])

    seen = checked(page([failed.as_json(), result(verdicts=[Verdict(text="fine", fails=False)]).as_json()]))

    summary = seen.text[: seen.text.index("2 runs")]
    assert "requests 1,000 /s" in summary
    assert "0.30 ms answer" in summary
    assert summary.endswith("passedput, ")
    assert "1 failed" in summary
    assert "failed: p99_us = 300 (--fail-if 'p99_us > 1')" in seen.text


def test_the_servers_resources_are_charted_and_a_partial_run_says_so() -> None:
    sampled = result(resources=[(0.5, 0.25, 10 * 2**20), (1.0, 0.75, 20 * 2**20)], partial=True)

    text = page([sampled.as_json(), sampled.as_json()])

    assert text.count("<figcaption>processor time, cores</figcaption>") == 3
    assert text.count("<figcaption>resident memory, MiB</figcaption>") == 3
    assert "interrupted: the figures are of what was measured until then" in checked(text).text


def test_the_time_line_is_named_after_what_it_counts() -> None:
    text = page([result(counted="deliveries_per_s").as_json()])

    assert 'aria-label="deliveries_per_s over time"' in text
    assert "requests_per_s over time" not in text


def test_the_axis_of_latencies_says_percentiles_and_milliseconds() -> None:
    text = page([result().as_json()])

    for tick in ("50", "90", "99", "99.9", "99.99", "max"):
        assert f'text-anchor="middle">{tick}</text>' in text
    assert "<figcaption>latency by percentile, ms</figcaption>" in text


def test_the_page_says_when_the_generator_was_the_limit() -> None:
    text = page([result(cpu_share=0.99, bottleneck=True).as_json()])

    assert "the load generator was the bottleneck (99% of its core)" in checked(text).text


def test_the_terminal_says_who_else_used_the_cores() -> None:
    console = Console(width=200, record=True)

    show_result(console, result(others_share=0.4))

    assert "other programs used 40% of the measured cores" in console.export_text()


def test_charts_of_nothing_are_no_trouble() -> None:
    assert lines({}, "nothing", x_label="s", y_label="n") == ""
    checked(bars({}, "nothing"))
    checked(bars({"a": 0.0}, "nothing yet"))


def test_percentiles_are_stretched_towards_their_end() -> None:
    stretched = percentile_axis([(0, 1), (90, 2), (99, 3), (100, 4)])

    assert [round(x, 6) for x, _ in stretched] == [0, 1, 2, 5]


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, result().as_json())

    again = Result.from_json(read_json(file))

    assert again.outcome.figures == result().outcome.figures
    assert again.as_json() == read_json(file) | {"outcome": again.as_json()["outcome"]}


@pytest.mark.parametrize(
    ("text", "said"), [("{", "is not JSON"), ("[]", "was not written by"), ("{}", "was not")]
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)

    with pytest.raises(UsageError, match=said):
        read_json(file)


def test_two_runs_are_compared_figure_by_figure() -> None:
    found = compare(result(1000).as_json(), result(1500).as_json())

    first = found.changes[0]
    assert (first.name, first.ratio, first.is_noise) == ("requests_per_s", 1.5, False)
    assert not found.warnings
    assert {change.name for change in found.changes} >= {"answer p50_us", "answer p99_us"}


def test_a_change_for_the_worse_fails_a_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for file, per_s in zip(files, (1000, 800), strict=True):
        write_json(Path(file), result(per_s).as_json())

    assert main(["compare", *files, "--fail-if", "requests_per_s_ratio < 0.7"]) == 0
    assert main(["compare", *files, "--fail-if", "requests_per_s_ratio < 0.9"]) == FAILED
    assert "failed: requests_per_s_ratio = 0.8 (--fail-if" in capsys.readouterr().err
    assert main(["compare", *files, "--fail-if", "answer_p99_us > 1"]) == FAILED
    assert main(["compare", *files, "--fail-if", "speed_ratio > 1"]) == 2


def test_small_changes_are_noise_and_nothing_has_no_ratio() -> None:
    assert Change("a", 100, 104).is_noise
    assert not Change("a", 100, 106).is_noise
    assert Change("a", 0, 5).ratio is None


def test_what_makes_runs_hard_to_compare_is_said() -> None:
    other = copy.deepcopy(result().as_json())
    other["machine"]["cores"] = 64
    other["options"]["connections"] = 1

    said = compare(result().as_json(), other).warnings

    assert said == ("the cores differs: 2 and 64", "--connections differs: 32 and 1")


def test_different_things_are_not_compared() -> None:
    with pytest.raises(UsageError, match="put cannot be compared with get"):
        compare(result().as_json(), result(scenario="get").as_json())
    with pytest.raises(UsageError, match="a result file cannot be compared with a peers file"):
        compare(result().as_json(), peers())


def test_files_go_through_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for file, per_s in zip(files, (1000, 3000), strict=True):
        write_json(Path(file), result(per_s).as_json())
    written = tmp_path / "report.html"

    assert main(["compare", *files]) == 0
    assert "3.000" in capsys.readouterr().out
    assert main(["report", *files, "--output", str(written)]) == 0
    checked(written.read_text())
