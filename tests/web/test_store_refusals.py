"""A Redis that is there and refuses: what rooms answer on both lanes, and that they recover."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from redis import Redis

from tests.engines import RedisServer
from tests.faults.redis_proxy import REFUSE, SAY, SAY_OK, ReplacingProxy, replacing_proxy
from tests.web.serving import ADMIN, LANES, PATIENCE_S, Node, eventually, refusal_to_start, serving

# By code: what Redis says, and what a PUT is answered with. None of it has written anything.
REFUSALS = {
    "MISCONF": (b"MISCONF Errors writing to the AOF file: No space left on device", "store_unavailable"),
    "NOAUTH": (b"NOAUTH Authentication required.", "store_unavailable"),
    "WRONGPASS": (b"WRONGPASS invalid username-password pair or user is disabled.", "store_unavailable"),
    "CLUSTERDOWN": (b"CLUSTERDOWN Hash slot not served", "store_unavailable"),
    "LOADING": (b"LOADING Redis is loading the dataset in memory", "store_unavailable"),
    "READONLY": (b"READONLY You can't write against a read only replica.", "store_unavailable"),
    "MASTERDOWN": (b"MASTERDOWN Link with MASTER is down", "store_unavailable"),
    "BUSY": (b"BUSY Redis is busy running a script.", "store_unavailable"),
    "OOM": (b"OOM command not allowed when used memory > 'maxmemory'.", "too_much_state"),
}
ROOM_COMMANDS = {b"EVALSHA", b"GET", b"GETRANGE", b"SET"}


def refuse(proxy: ReplacingProxy, error: bytes, commands: set[bytes]) -> None:
    proxy.replace = lambda command: (REFUSE, error) if command[0] in commands else None


async def until_written(node: Node) -> None:
    with trio.fail_after(PATIENCE_S):
        while (answer := await node.put("r", {"n": 2})).status_code == 503:
            assert int(answer.headers["retry-after"]) >= 1
            await trio.sleep(0.05)  # real time: Redis takes writes again


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("code", REFUSALS)
async def test_a_refusal_is_503_and_over_by_itself(redis_server: RedisServer, lane: str, code: str) -> None:
    error, expected = REFUSALS[code]
    async with (
        replacing_proxy(redis_server.port) as proxy,
        serving(lane, ROOM_STORE="redis", REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0") as node,
        node.watch("r") as watcher,
    ):
        await watcher.event()
        await node.put("r", {"n": 1})
        await watcher.event()
        refuse(proxy, error, ROOM_COMMANDS)
        put = await node.put("r", {"n": 2})
        again = await node.put("r", {"n": 2})  # the second of a connection takes another way
        get = await node.get("r")
        delete = await node.http.delete("/api/rooms/r", headers=ADMIN)
        rooms = node.program.core.rooms
        await eventually(lambda: code in (rooms.trouble or ""))  # type: ignore[union-attr]
        health = await node.http.get("/internal/health")
        alive = await node.http.get("/healthz")
        refuse(proxy, error, set())
        await until_written(node)
        heard = await watcher.event()
        await eventually(lambda: rooms.trouble is None)  # type: ignore[union-attr]
        healthy = await node.http.get("/internal/health")

    assert [(answer.status_code, answer.json()["error"]) for answer in (put, again, delete)] == [
        (503, expected)
    ] * 3
    assert (get.status_code, get.json()["error"]) == (503, "store_unavailable")
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in (put, again, get, delete))
    assert health.json()["status"] == "degraded"
    assert code in health.json()["room_store"]
    assert alive.status_code == 200
    assert heard.data["version"] == 2
    assert "room_store" not in healthy.json()


async def test_health_recovers_where_nobody_writes(redis_server: RedisServer) -> None:
    async with (
        replacing_proxy(redis_server.port) as proxy,
        serving("fast", ROOM_STORE="redis", REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0") as node,
    ):
        refuse(proxy, REFUSALS["MISCONF"][0], ROOM_COMMANDS)
        await node.put("r", {"n": 1})
        rooms = node.program.core.rooms
        before = rooms.trouble  # type: ignore[union-attr]
        refuse(proxy, b"", set())
        await eventually(lambda: rooms.trouble is None)  # type: ignore[union-attr]

    assert "MISCONF" in str(before)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("code", ["NOAUTH", "WRONGPASS", "LOADING", "CLUSTERDOWN", "MISCONF"])
async def test_a_redis_that_refuses_new_connections_is_waited_for(
    redis_server: RedisServer, lane: str, code: str
) -> None:
    error, _ = REFUSALS[code]
    async with (
        replacing_proxy(redis_server.port) as proxy,
        serving(lane, ROOM_STORE="redis", REDIS_URL=f"redis://:x@127.0.0.1:{proxy.port}/0") as node,
    ):

        def let_in(command: list[bytes]) -> tuple[str, bytes] | None:
            return (SAY_OK, b"") if command[0] == b"AUTH" else None

        proxy.replace = let_in
        await until_written(node)
        proxy.replace = lambda _: (REFUSE, error)
        proxy.reset()
        rooms = node.program.core.rooms
        await eventually(lambda: code in (rooms.trouble or ""))  # type: ignore[union-attr]
        put, get = await node.put("r", {"n": 3}), await node.get("r")
        proxy.replace = let_in
        await until_written(node)

    assert [put.json()["error"], get.json()["error"]] == ["store_unavailable"] * 2
    assert put.status_code == get.status_code == 503


def changed(info: bytes, old: bytes, new: bytes) -> bytes:
    assert old in info
    return info.replace(old, new)


UNSUITABLE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cluster": (lambda info: changed(info, b"redis_mode:standalone", b"redis_mode:cluster"), "Redis Cluster"),
    "keydb": (lambda info: changed(info, b"role:master", b"role:active-replica"), "active replication"),
    "old": (lambda info: changed(info, b"redis_version:", b"redis_version:5."), "is too old"),
}


@pytest.mark.parametrize("kind", UNSUITABLE)
async def test_a_node_refuses_to_start_with_a_server_that_cannot_keep_rooms(
    redis_server: RedisServer, kind: str
) -> None:
    alter, reason = UNSUITABLE[kind]
    with Redis.from_url(redis_server.url) as client:
        client.set_response_callback("INFO", lambda response, **_: response)
        info = client.execute_command("INFO", "everything")
    async with replacing_proxy(redis_server.port) as proxy:

        def pretend(command: list[bytes]) -> tuple[str, bytes] | None:
            if command[0] == b"INFO":
                return SAY, alter(info)
            # As a node of a cluster that has other slots.
            is_elsewhere = kind == "cluster" and command[0] == b"SET"
            return (REFUSE, b"MOVED 1 127.0.0.1:1") if is_elsewhere else None

        proxy.replace = pretend
        line = await refusal_to_start(ROOM_STORE="redis", REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0")

    assert line.startswith("greenroom: REDIS_URL: ")
    assert reason in line
