"""How a node says that it is well, and what it counts."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.engines import RedisServer
from tests.web.conftest import Serve
from tests.web.serving import Node, eventually


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
