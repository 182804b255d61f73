from __future__ import annotations

import pytest

from bench.cli import main
from bench.peers.catalogue import by_name
from bench.run import started
from bench.scenarios.shared import SHARED, SharedOptions
from tests.engines import RedisServer


def test_rooms_in_redis_are_held_against_rooms_in_memory(redis_server: RedisServer) -> None:
    options = SharedOptions(
        duration_s=0.3, warmup_s=0.1, rounds=1, connections=4, rate=200, rooms=100, redis_url=redis_server.url
    )
    with started(by_name("greenroom"), SHARED, options) as session:
        figures = SHARED.run(session, options).figures

    assert next(iter(figures)) == "put_ratio"
    assert figures["put_ratio"] > 0
    assert figures["get_ratio"] > 0
    assert figures["bytes_per_stream_and_room_redis"] > figures["bytes_per_stream_memory"] > 0
    assert figures["recheck_s"] > 0
    assert "added_p99_us" in figures


def test_a_server_that_runs_already_has_nothing_to_be_held_against(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shared", "--url", url]) == 2

    assert "without --url" in capsys.readouterr().err


def test_without_a_redis_one_has_to_be_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)

    assert main(["shared", "--quiet"]) == 2
    assert "--redis-url" in capsys.readouterr().err
