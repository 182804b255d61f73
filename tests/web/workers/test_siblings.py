"""Workers that ask one another, and what their answers are merged into."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import Metric
from trio.testing import wait_all_tasks_blocked

from web.handlers.merging import Family, families_of, merged_health, merged_metrics
from web.handlers.metrics import metrics_left
from web.workers import siblings as module
from web.workers.siblings import Siblings


def worker(directory: Path, number: int, count: int = 3) -> Siblings:
    siblings = Siblings(
        directory, number, count, {"who": lambda: {"number": number}, "bad": lambda: "x" * 100}
    )
    # All of a test's workers are one process.
    siblings._path = directory / f"{number}-{1000 + number}.sock"  # noqa: SLF001
    return siblings


@asynccontextmanager
async def running(*workers: Siblings) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for one in workers:
            nursery.start_soon(one.run)
        await wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


async def test_whichever_is_asked_all_answer(tmp_path: Path) -> None:
    one, two, three = (worker(tmp_path, number) for number in (1, 2, 3))
    async with running(one, two, three):
        everybody = [(number, {"number": number}) for number in (1, 2, 3)]
        assert await one.ask("who") == everybody
        assert await three.ask("who") == everybody
    assert list(tmp_path.iterdir()) == []


async def test_a_sibling_that_was_killed_is_missing_and_its_socket_goes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "2-77.sock"))
    one = worker(tmp_path, 1)
    async with running(one):
        assert await one.ask("who") == [(1, {"number": 1})]
        assert not (tmp_path / "2-77.sock").exists()
    assert "sibling_silent" in caplog.messages


async def test_a_sibling_that_hangs_costs_a_second_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.05)
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(tmp_path / "2-77.sock"))
        hanging.listen()
        one = worker(tmp_path, 1)
        async with running(one):
            assert await one.ask("who") == [(1, {"number": 1})]


async def test_an_answer_without_end_and_one_that_is_no_json_are_no_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ANSWER_BYTES", 50)
    one, two = worker(tmp_path, 1), worker(tmp_path, 2)
    async with running(one, two):
        assert [number for number, _ in await one.ask("bad")] == [1]
        assert [number for number, _ in await one.ask("who")] == [1, 2]


async def test_what_a_worker_counted_is_counted_on_when_it_has_ended(tmp_path: Path) -> None:
    def join(before: object, last: object) -> object:
        return [*(before if isinstance(before, list) else []), last]

    one, two, three = (
        Siblings(tmp_path, number, 3, {"count": partial(int, number)}, {"count": join})
        for number in (1, 2, 3)
    )
    assert await one.ask("count") == [(1, 1)]
    for ending in (two, three):
        async with running(ending):
            pass
    assert await one.ask("count") == [(0, [2, 3]), (1, 1)]


def test_what_is_left_of_processes_is_what_grows() -> None:
    families = [
        family("a", "counter", ("a_total", {"code": "x"}, 3), ("a_total", {"code": "y"}, 1)),
        family("b", "gauge", ("b", {}, 5)),
        family("c", "histogram", ("c_bucket", {"le": "1.0"}, 2), ("c_sum", {}, 0.5)),
    ]

    left = metrics_left(metrics_left(None, families), families)

    assert left == [
        ("a", "A text.", "counter", [("a_total", {"code": "x"}, 6), ("a_total", {"code": "y"}, 2)]),
        ("c", "A text.", "histogram", [("c_bucket", {"le": "1.0"}, 4), ("c_sum", {}, 1.0)]),
    ]


async def test_questions_nobody_knows_get_no_answer(tmp_path: Path) -> None:
    two = worker(tmp_path, 2)
    async with running(two):
        for nonsense in (b"", b"what?\n", b"\xff\xff\n", b"x" * 1000):
            stream = await trio.open_unix_socket(str(tmp_path / "2-1002.sock"))
            async with stream:
                await stream.send_all(nonsense)
                await stream.send_eof()
                # With unread bytes the connection is reset.
                with trio.fail_after(5), suppress(trio.BrokenResourceError):
                    assert await stream.receive_some(10) == b""
        one = worker(tmp_path, 1)
        assert len(await one.ask("who")) == 2


def family(name: str, kind: str, *samples: tuple[str, dict[str, str], float]) -> Family:
    return (name, "A text.", kind, list(samples))


def values(metrics: list[Metric]) -> dict[tuple[str, str], float]:
    return {
        (
            sample.name,
            ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items())),
        ): sample.value
        for metric in metrics
        for sample in metric.samples
    }


def test_counters_are_summed_and_what_cannot_be_summed_is_told_apart() -> None:
    def of(writes: float, up: float) -> list[Family]:
        return [
            family("greenroom_writes", "counter", ("greenroom_writes_total", {"code": "a"}, writes)),
            family("greenroom_streams", "gauge", ("greenroom_streams", {}, writes)),
            family("greenroom_redis_up", "gauge", ("greenroom_redis_up", {}, up)),
            family("process_resident_memory_bytes", "gauge", ("process_resident_memory_bytes", {}, 5.0)),
        ]

    merged = values(list(merged_metrics([(1, of(3, 1)), (2, of(4, 0))], 3)))

    assert merged == {
        ("greenroom_writes_total", "code=a"): 7,
        ("greenroom_streams", ""): 7,
        ("greenroom_redis_up", "worker=1"): 1,
        ("greenroom_redis_up", "worker=2"): 0,
        ("process_resident_memory_bytes", "worker=1"): 5,
        ("process_resident_memory_bytes", "worker=2"): 5,
        ("greenroom_worker_answers", "worker=1"): 1,
        ("greenroom_worker_answers", "worker=2"): 1,
        ("greenroom_worker_answers", "worker=3"): 0,
    }


def test_histograms_are_summed_bucket_by_bucket() -> None:
    registry = CollectorRegistry()
    Histogram("greenroom_x_seconds", "X.", buckets=(1, 2), registry=registry).observe(1.5)
    families = families_of(registry.collect())

    merged = values(list(merged_metrics([(1, families), (2, families)], 2)))

    assert merged["greenroom_x_seconds_bucket", "le=1.0"] == 0
    assert merged["greenroom_x_seconds_bucket", "le=2.0"] == 2
    assert merged["greenroom_x_seconds_sum", ""] == 3.0


def test_the_health_of_a_node_is_that_of_its_worst_worker() -> None:
    well = {"status": "ok", "active_rooms": 3, "connected_players": 1, "uptime_seconds": 9}
    ill = {**well, "status": "degraded", "away": ["redis"], "redis": "LOADING"}

    assert merged_health([(1, well), (2, well)], 2, well) == {
        **well,
        "active_rooms": 6,
        "connected_players": 2,
        "workers": {"count": 2, "answering": 2},
    }
    told = merged_health([(1, well), (2, ill)], 3, well)
    assert (told["status"], told["away"], told["redis"]) == ("degraded", ["redis", "worker-3"], "LOADING")
    assert told["workers"] == {"count": 3, "answering": 2}
