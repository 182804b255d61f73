from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.cli import main
from bench.scenarios import SCENARIOS
from tests.engines import free_port

WRONG = [
    ([], "COMMAND"),
    (["juggle"], "juggle"),
    (["put", "--connections", "many"], "'many' is not a whole number"),
    (["put", "--connections", "0"], "0 is less than 1"),
    (["put", "--duration-s", "-1"], "-1 is less than 0.05"),
    (["put", "--size", "3"], "less than 34"),
    (["put", "--bogus"], "--bogus"),
    (["put", "--url", "ftp://somewhere"], "not of the form"),
    (["put", "--url", "http://somewhere:port"], "is not a URL"),
    (["put", "--url", "http://somewhere", "--insecure"], "belong to a --url that begins with https"),
    (["put", "--insecure"], "--ca and --insecure belong to --url"),
    (["put", "--url", "https://somewhere", "--ca", "/nowhere/ca.pem"], "--ca /nowhere/ca.pem cannot be used"),
    (["put", "--header", "no colon"], "is no header"),
    (["put", "--header", "Host: elsewhere"], "is set by the bench itself"),
    (["put", "--token", "two\nlines"], "a token has no line ends"),
    (["put", "--pid", "1"], "--pid belongs to --url"),
    (["put", "--server", "apache"], "apache"),
    (["idle", "--url", "http://127.0.0.1:1"], "--pid"),
    (["idle", "--url", "http://127.0.0.1:1", "--pid", "999999999"], "no such process"),
    (["fanout", "--streams", "100000000", "--url", "http://127.0.0.1:1"], "open files"),
    (["put", "--fail-if", "p99_ms = 20"], "is not of the form"),
    (["put", "--steps", "10"], "is not of the form FIRST:LAST"),
    (["put", "--steps", "10:5"], "0 < FIRST <= LAST"),
    (["put", "--steps", "1:10:1"], "FACTOR > 1"),
    (["put", "--steps", "1:1e9"], "is not of the form"),
    (["put", "--steps", "1:1000000:1.001"], "more than 64 steps"),
    (["put", "--until", "p99_ms > 1"], "--until is a bound of --steps"),
    (["fanout", "--steps", "1:2"], "--steps"),
    (["peers", "--rounds", "0"], "--rounds is at least 1"),
    (["peers", "--rows", "nonsense"], "nonsense"),
    (["report", "/nowhere/a.json"], "cannot read /nowhere/a.json"),
    (["compare", "/nowhere/a.json", "/nowhere/b.json"], "cannot read /nowhere/a.json"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=[" ".join(case[0]) or "nothing" for case in WRONG])
def test_wrong_use_gets_one_clear_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("greenroom bench: ")
    assert said in captured.err


@pytest.mark.parametrize("command", ["put", "fanout", "latency", "connect"])
def test_a_server_that_is_not_there_gets_one_clear_line(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--url", f"http://127.0.0.1:{free_port()}"]) == 1

    assert capsys.readouterr().err.count("\n") == 1


def test_every_scenario_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for scenario in SCENARIOS:
        with pytest.raises(SystemExit) as left:
            main([scenario.name, "--help"])

        assert left.value.code == 0
        assert scenario.summary in " ".join(capsys.readouterr().out.split())


def test_a_run_is_shown_and_written(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "put.json"

    assert main(["put", "--url", url, "--duration-s", "0.1", "--warmup-s", "0", "--json", str(file)]) == 0

    written = json.loads(file.read_text())
    assert written["scenario"] == "put"
    assert written["target"] == url
    assert written["options"]["connections"] == 32
    assert written["machine"]["cores"] >= 1
    assert written["outcome"]["figures"]["requests_per_s"] > 0
    assert "requests_per_s" in capsys.readouterr().out


def test_quiet_means_silent(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "--url", url, "--duration-s", "0.1", "--warmup-s", "0", "--quiet"]) == 0

    assert capsys.readouterr() == ("", "")


def test_a_result_that_cannot_be_written_is_said(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["put", "--url", url, "--duration-s", "0.05", "--warmup-s", "0", "--quiet"]

    assert main([*arguments, "--json", "/nowhere/a.json"]) == 2
    assert "cannot write /nowhere/a.json" in capsys.readouterr().err
