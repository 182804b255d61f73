"""How a node says that it is well, and what it counts."""

from __future__ import annotations

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from actors.core import mailbox_waits
from tests.engines import RedisServer
from tests.web.conftest import Serve
from tests.web.serving import Node, eventually
from web.handlers.dispatcher import SAMPLE_EVERY


async def test_healthz_is_for_load_balancers(node: Node) -> None:
    answer = await node.http.get("/healthz")

    assert answer.status_code == 200
    assert answer.json() == {"ok": True}


async def test_internal_health_says_how_the_node_does(node: Node) -> None:
    await node.put("a", {})
    await node.put("b", {})
    answer = await node.http.get("/internal/health")
    facts = answer.json()

    assert answer.status_code == 200
    assert facts.pop("uptime_seconds") >= 0
    assert facts == {
        "status": "ok",
        "node_name": "node-under-test",
        "active_rooms": 2,
        "connected_players": 0,
    }


async def test_health_is_degraded_while_redis_is_away_and_rooms_do_not_mind(
    serve: Serve, redis_server: RedisServer
) -> None:
    async def status() -> tuple[int, str]:
        answer = await node.http.get("/internal/health")
        return answer.status_code, answer.json()["status"]

    async with serve(REDIS_URL=redis_server.url) as node, node.watch("r") as watcher:
        link = node.program.core.redis.link
        assert link is not None
        await eventually(lambda: link.state.up)
        assert await status() == (200, "ok")

        redis_server.kill()
        await eventually(lambda: not link.state.up)
        assert await status() == (503, "degraded")
        assert (await node.http.get("/healthz")).status_code == 200
        await node.put("r", {})
        assert await watcher.until_version(1)

        redis_server.start()
        await eventually(lambda: link.state.up)
        assert await status() == (200, "ok")


async def samples(node: Node) -> dict[tuple[str, str], float]:
    answer = await node.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_metrics_count_what_happened(serve: Serve) -> None:
    async with serve(MAX_STREAMS=1, MAX_ROOMS=1) as node, node.watch("a") as watcher:
        await watcher.event()
        await node.put("a", {})
        await node.put("a", {})
        await node.put("b", {})
        await node.http.get("/api/rooms/b/stream")
        now = await samples(node)

    assert now["greenroom_rooms", ""] == 1
    assert now["greenroom_rooms_limit", ""] == 1
    assert now["greenroom_room_writes_total", ""] == 2
    assert now["greenroom_streams", ""] == 1
    assert now["greenroom_streams_limit", ""] == 1
    assert now["greenroom_streams_refused_total", "limit"] == 1
    assert now["greenroom_http_answers_total", "200"] >= 2
    assert now["greenroom_http_answers_total", "503"] == 2
    assert now["greenroom_connections", ""] >= 1
    assert now["greenroom_room_state_bytes", ""] > 0


@pytest.mark.parametrize(("token", "status"), [("", 401), ("Bearer wrong", 401), ("Bearer scrape", 200)])
async def test_a_token_closes_the_metrics(serve: Serve, token: str, status: int) -> None:
    async with serve(METRICS_TOKEN="scrape") as node:
        answer = await node.http.get("/metrics", headers={"Authorization": token})

    assert answer.status_code == status


def count_of(now: dict[tuple[str, str], float], name: str, labels: str = "") -> float:
    return now[f"greenroom_{name}_seconds_count", labels]


async def test_durations_are_counted_by_route_and_method(serve: Serve) -> None:
    async with serve() as node, node.watch("a") as watcher:
        await watcher.event()
        before = await samples(node)
        for number in range(2 * SAMPLE_EVERY):
            await node.put("a", {"n": number})
        await node.http.get("/nowhere")
        await eventually(lambda: node.program.core.process.loop_lag.lags.sum_s > 0)
        await node.http.delete("/api/rooms/nobody")
        now = await samples(node)

    assert count_of(before, "http_request_duration", "PUT,/api/rooms/{id}") == 0
    # Those that are answered inline are sampled, each for as many.
    assert count_of(now, "http_request_duration", "PUT,/api/rooms/{id}") in range(
        2 * SAMPLE_EVERY, 3 * SAMPLE_EVERY
    )
    assert count_of(now, "http_request_duration", "DELETE,/api/rooms/{id}") == 1
    assert count_of(now, "put_to_delivery") >= 1
    assert count_of(now, "event_loop_lag") >= 1
    assert now["greenroom_http_request_duration_seconds_bucket", "10.0,PUT,/api/rooms/{id}"] > 0


async def test_the_wait_in_mailboxes_is_sampled(node: Node) -> None:
    before = mailbox_waits.cumulative()[-1][1]
    for number in range(20):
        await node.put(f"room-{number}", {})
        await trio.sleep(0.02)  # real time: ten samples a second

    assert mailbox_waits.cumulative()[-1][1] > before


async def test_no_id_is_a_label(node: Node) -> None:
    await node.put("a-room-of-its-own", {})
    await node.http.get("/api/rooms/a-room-of-its-own")
    await node.http.get("/players/1234567")
    text = (await node.http.get("/metrics")).text

    assert "a-room-of-its-own" not in text
    assert "1234567" not in text
