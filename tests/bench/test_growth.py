"""What grows, and what only varies; and a soak of a server that leaks."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from bench.cli import FAILED, main
from bench.growth import FEWEST_POINTS, MOST_POINTS, Growth, growth
from bench.results import read_json
from bench.scenarios.soak import LATENCY_TOLERATED, MEMORY_TOLERATED, judge
from bench.servers import ServerCommand, free_port, running

STEPS = 400


def series(
    slope_per_s: float, noise: float, *, seed: int = 1, base: float = 100.0
) -> list[tuple[float, float]]:
    rng = random.Random(seed)
    return [(at * 10.0, base + slope_per_s * at * 10.0 + rng.gauss(0, noise)) for at in range(STEPS)]


def test_a_slope_is_found_under_noise() -> None:
    found = growth(series(0.01, 2))

    assert found is not None
    assert found.is_trend
    assert found.per_hour == pytest.approx(36, rel=0.15)
    assert found.share == pytest.approx(20 / 130, rel=0.2)


def test_noise_alone_is_seldom_a_trend() -> None:
    trends = [growth(series(0, 5, seed=seed)) for seed in range(60)]

    assert sum(found.is_trend for found in trends if found is not None) <= 4


def test_what_shrinks_or_stays_does_not_grow() -> None:
    for slope in (0, -0.01):
        found = growth(series(slope, 0))
        assert found is not None
        assert not found.is_trend


def test_the_start_of_a_run_and_single_outliers_do_not_count() -> None:
    samples = [(at * 10.0, min(at, 100) * 1.0) for at in range(STEPS)]
    samples[300] = (3000.0, 1e9)

    found = growth(samples)

    assert found is not None
    assert (found.per_hour, found.is_trend) == (0, False)


@pytest.mark.parametrize("count", [0, 1, 2 * FEWEST_POINTS - 2])
def test_too_few_samples_say_nothing(count: int) -> None:
    assert growth(series(1, 0)[:count]) is None


def test_a_long_run_is_averaged_into_a_bounded_number_of_points() -> None:
    found = growth([(at * 1.0, at * 1.0) for at in range(100 * MOST_POINTS)])

    assert found is not None
    assert found.per_hour == pytest.approx(3600)


def test_growth_fails_a_soak_only_past_what_is_tolerated() -> None:
    def grown(share: float, *, is_trend: bool = True) -> Growth:
        return Growth(per_hour=1e6, share=share, is_trend=is_trend)

    fails = [
        [verdict.fails for verdict in judge(grown(latency), grown(memory))[0]]
        for latency, memory in (
            (LATENCY_TOLERATED, MEMORY_TOLERATED),
            (LATENCY_TOLERATED * 1.01, MEMORY_TOLERATED * 1.01),
        )
    ]
    assert fails == [[False, False], [True, True]]
    assert not judge(grown(9, is_trend=False), None)[0][0].fails
    assert judge(None, None) == (
        [],
        [
            "p99 of deliveries: too few samples to tell whether it grows",
            "resident memory: too few samples to tell whether it grows",
        ],
    )


LEAKY = """
import sys
from bench.peers.bare import BareServer

class Leaky(BareServer):
    kept = []
    def _write(self, *args):
        super()._write(*args)
        self.kept.append(bytearray(b"x" * 100_000))

Leaky(int(sys.argv[1])).run()
"""


def test_a_soak_of_a_server_that_leaks_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, port = tmp_path / "soak.json", free_port()
    load = ["--rooms", "2", "--clients", "2", "--rate", "25", "--connections", "2", "--churn", "0"]
    timing = ["--duration-s", "8", "--step-s", "0.05", "--warmup-s", "0"]
    with running(ServerCommand(command=[sys.executable, "-c", LEAKY, str(port)]), port) as server:
        target = ["--url", f"http://127.0.0.1:{port}", "--pid", str(server.pid)]

        assert main(["soak", *target, *load, *timing, "--quiet", "--json", str(file)]) == FAILED

    assert "failed: resident memory grows: +" in capsys.readouterr().err
    outcome = read_json(file)["outcome"]
    assert outcome["figures"]["bytes_per_hour"] > 0
    assert any("resident memory grows" in verdict["text"] for verdict in outcome["verdicts"])
    samples = outcome["resources"]
    assert len(samples) > 20
    assert samples[-1][2] > samples[0][2]
