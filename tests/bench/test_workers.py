from __future__ import annotations

import pytest

from bench.cli import main
from bench.peers.catalogue import by_name
from bench.run import started
from bench.scenarios.workers import WORKERS, WorkersOptions
from tests.engines import RedisServer


@pytest.mark.slow
def test_two_workers_are_held_against_one(redis_server: RedisServer) -> None:
    options = WorkersOptions(
        duration_s=0.5,
        warmup_s=0.1,
        rounds=1,
        rooms=2,
        streams=20,
        rate=50,
        spread_rooms=20,
        spread_rate=200,
        burst=8,
        redis_url=redis_server.url,
    )
    with started(by_name("greenroom"), WORKERS, options) as session:
        figures = WORKERS.run(session, options).figures

    for name in ("fan_out", "spread"):
        one, two = figures[f"{name}_us_per_delivery_one"], figures[f"{name}_us_per_delivery_several"]
        # The parent is a process as well.
        assert 1 / 3 <= figures[f"{name}_share_of_the_busiest"] <= 1
        assert figures[f"{name}_cpu_ratio"] == pytest.approx(two / one, rel=0.02)
        assert figures[f"{name}_rate_ratio"] <= 3 / figures[f"{name}_cpu_ratio"]


def test_a_server_that_runs_already_is_not_held_against_another(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["workers", "--url", url]) == 2

    assert "without --url" in capsys.readouterr().err
