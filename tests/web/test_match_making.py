"""From the matchmaker's queue to the API server and back, through a whole node."""

from __future__ import annotations

import json
import re
from functools import partial

import redis
import trio
from trio.testing import wait_all_tasks_blocked

from tests.engines import RedisServer
from tests.fakes.api_server import api_server
from tests.fakes.node import client_of, job
from tests.web.conftest import Serve
from tests.web.serving import eventually

QUEUE = "room_creation_queue"


async def push(server: RedisServer, *payloads: bytes) -> None:
    async with client_of(server.url) as client:
        await trio.to_thread.run_sync(partial(client.lpush, QUEUE, *payloads))


async def test_a_job_becomes_a_room_that_anybody_may_watch_and_the_api_server_hears(
    serve: Serve, redis_server: RedisServer
) -> None:
    async with (
        api_server() as api,
        serve(REDIS_URL=redis_server.url, API_BASE_URL=api.base_url, INTERNAL_API_KEY="k1,k2") as node,
        node.watch("match-1") as watcher,
    ):
        assert await watcher.version() == 0
        await push(redis_server, job("match-1"))
        await api.until_acknowledged("match-1", "ready")
        assert await watcher.version() == 1
        put = await node.put("match-1", {})

        assert api.calls("match-1") == ["ready"]
        assert put.status_code == 409
        assert put.json()["error"] == "room_is_authoritative"


async def test_an_ordinary_room_is_taken_over_and_keeps_its_streams(
    serve: Serve, redis_server: RedisServer
) -> None:
    async with (
        api_server() as api,
        serve(REDIS_URL=redis_server.url, API_BASE_URL=api.base_url) as node,
        node.watch("match-1") as watcher,
    ):
        before = (await node.put("match-1", {"mine": 1})).headers["etag"]
        assert await watcher.until_version(1)
        await push(redis_server, job("match-1"))
        await api.until_acknowledged("match-1", "ready")
        event = await watcher.event()

        assert event.data["version"] == 1
        assert event.data["state"] != {"mine": 1}
        assert event.id is not None
        assert event.id.partition("-")[0] not in before


async def test_a_match_that_nobody_joins_is_aborted_and_its_room_goes(
    serve: Serve, redis_server: RedisServer
) -> None:
    async with (
        api_server() as api,
        serve(REDIS_URL=redis_server.url, API_BASE_URL=api.base_url, JOIN_TIMEOUT_SECONDS=0.2) as node,
    ):
        await push(redis_server, job("match-1"))
        await api.until_acknowledged("match-1", "aborted")

        assert api.calls("match-1") == ["ready", "aborted"]
        assert (await node.get("match-1")).status_code == 200


async def test_an_operator_ends_a_match_through_pub_sub(serve: Serve, redis_server: RedisServer) -> None:
    command = {"command": "terminate", "room_id": "match-1", "reason": "admin_terminated", "admin_id": "a"}
    async with api_server() as api, serve(REDIS_URL=redis_server.url, API_BASE_URL=api.base_url):
        await push(redis_server, job("match-1"))
        await api.until_acknowledged("match-1", "ready")
        async with client_of(redis_server.url) as client:
            await eventually(lambda: client.publish("room_commands", json.dumps(command)))
        await api.until_acknowledged("match-1", "aborted")


async def test_redis_may_be_away_at_the_start_and_later_and_no_stream_drops(
    serve: Serve, redis_server: RedisServer
) -> None:
    redis_server.stop()
    async with (
        api_server() as api,
        serve(REDIS_URL=redis_server.url, API_BASE_URL=api.base_url) as node,
        node.watch("r") as watcher,
    ):
        await node.put("r", {})
        assert await watcher.until_version(1)
        for number in range(2):
            redis_server.start()
            await push(redis_server, job(f"match-{number}"))
            await api.until_acknowledged(f"match-{number}", "ready")
            redis_server.kill()
        await node.put("r", {})
        assert await watcher.version() == 2


async def test_what_the_queue_did_is_in_the_metrics(serve: Serve, redis_server: RedisServer) -> None:
    async with api_server() as api, serve(REDIS_URL=redis_server.url, API_BASE_URL=api.base_url) as node:
        await push(redis_server, job("match-1"), b"nonsense")
        await api.until_acknowledged("match-1", "ready")
        async with client_of(redis_server.url) as client:
            await eventually(partial(dead_letters, client))
        text = (await node.http.get("/metrics")).text

    assert "greenroom_jobs_taken_total 2.0" in text
    assert re.search(r'greenroom_jobs_dead_total\{reason="[a-z_]+"\} 1\.0', text)
    assert "greenroom_redis_up 1.0" in text


def dead_letters(client: redis.Redis) -> object:
    return client.llen("room_creation_queue:dead")


async def test_without_an_api_server_jobs_stay_in_the_queue(serve: Serve, redis_server: RedisServer) -> None:
    async with serve(REDIS_URL=redis_server.url) as node:
        link = node.program.core.redis.link
        assert link is not None
        await eventually(lambda: link.state.up)
        await push(redis_server, job("match-1"))
        await wait_all_tasks_blocked(0.02)
        async with client_of(redis_server.url) as client:
            assert client.llen(QUEUE) == 1
