"""Ctrl-C: what was measured until then is shown, and marked."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from bench.cli import INTERRUPTED
from bench.results import read_json
from bench.scenarios import crowd, reconnect
from bench.scenarios.crowd import CROWD, CrowdOptions
from bench.scenarios.reconnect import RECONNECT, ReconnectOptions
from bench.session import Session

PATIENCE_S = 60.0
ENOUGH = 20


class Counting(ThreadingHTTPServer):
    """Takes writes and opens streams, and says when there have been enough requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CountedRequest)
        self.seen = 0
        self.enough = Event()

    def count(self) -> None:
        self.seen += 1
        if self.seen >= ENOUGH:
            self.enough.set()


class CountedRequest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Counting

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.count()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def counting() -> Iterator[Counting]:
    with Counting() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def interrupted(counting: Counting, tmp_path: Path) -> Callable[..., tuple[int, str, str, dict[str, Any]]]:
    """Run a scenario, interrupt it in the middle, and return status, output, errors and result."""

    def run(*command: str) -> tuple[int, str, str, dict[str, Any]]:
        file = tmp_path / "result.json"
        url = f"http://127.0.0.1:{counting.server_port}"
        arguments = [*command, "--url", url, "--warmup-s", "0", "--json", str(file)]
        bench = subprocess.Popen(
            [sys.executable, "-m", "bench.cli", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert counting.enough.wait(PATIENCE_S)
        bench.send_signal(signal.SIGINT)
        said, complained = bench.communicate(timeout=PATIENCE_S)
        return bench.returncode, said, complained, read_json(file)

    return run


def test_an_interrupted_run_shows_what_it_has(
    interrupted: Callable[..., tuple[int, str, str, dict[str, Any]]],
) -> None:
    gates = ["--fail-if", "requests_per_s > 0"]
    status, said, complained, result = interrupted("put", "--connections", "1", "--duration-s", "600", *gates)

    assert status == INTERRUPTED
    assert "requests_per_s" in said
    assert "interrupted: the figures are of what was measured until then" in complained
    assert result["outcome"]["partial"] is True
    assert result["outcome"]["figures"]["requests_per_s"] > 0
    assert result["outcome"]["latencies"]["answer"]["count"] >= ENOUGH - 1
    assert result["outcome"]["timeline"][-1][0] < PATIENCE_S


def test_a_scenario_of_several_windows_ends_with_the_first_that_is_interrupted(
    interrupted: Callable[..., tuple[int, str, str, dict[str, Any]]],
) -> None:
    status, _, _, result = interrupted("crowd", "--connections", "1", "--streams", "5", "--duration-s", "600")

    assert status == INTERRUPTED
    assert result["outcome"]["partial"] is True
    assert result["outcome"]["figures"]["requests_per_s"] > 0
    assert "share_of_none" not in result["outcome"]["figures"]


def interrupted_after(count: int, put: Callable[..., Any]) -> Callable[..., Any]:
    """Do `count` measurements, and interrupt the next before its window begins."""
    left = iter(range(count))

    def run(*arguments: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return put(*arguments)

    return run


BRIEF: dict[str, Any] = {"duration_s": 0.1, "warmup_s": 0.05, "streams": 5, "connections": 2}


def test_an_interrupt_between_two_windows_keeps_the_rounds_before(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowd, "_put", interrupted_after(3, vars(crowd)["_put"]))
    monkeypatch.setattr(reconnect, "_return", interrupted_after(1, vars(reconnect)["_return"]))

    with_crowd = CROWD.run(session, CrowdOptions(rounds=2, **BRIEF))
    with_return = RECONNECT.run(session, ReconnectOptions(rounds=2, **BRIEF))

    assert with_crowd.partial
    assert with_crowd.figures["share_of_none"] > 0
    assert with_return.partial
    assert with_return.figures["share_of_writes_during_return"] > 0
    for scenario, options in ((CROWD, CrowdOptions(**BRIEF)), (RECONNECT, ReconnectOptions(**BRIEF))):
        with pytest.raises(KeyboardInterrupt):
            scenario.run(session, options)
