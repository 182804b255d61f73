"""Rooms over several Redis servers: each has its part, and one that is away takes only that with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import trio
from redis import Redis

from actors.rooms.shared_record import partition_of
from tests.engines import RedisServer
from tests.web.serving import ADMIN, PATIENCE_S, Node, eventually, refusal_to_start, serving

# One room of each of two servers.
FIRST = next(f"r{number}" for number in range(100) if partition_of(f"r{number}") % 2 == 0)
SECOND = next(f"r{number}" for number in range(100) if partition_of(f"r{number}") % 2 == 1)
ROOMS: Final = [f"room-{number}" for number in range(30)]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Two servers that run."""
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(RedisServer(tmp_path / name))
        made[-1].start()
    one, two = made
    yield one, two
    for server in made:
        server.stop()


def on(*servers: RedisServer) -> dict[str, str]:
    return {"ROOM_STORE": "redis", "REDIS_URL": ",".join(server.url for server in servers)}


async def until_written(node: Node, room_id: str) -> None:
    with trio.fail_after(PATIENCE_S):
        while (await node.put(room_id, {"n": 3})).status_code != 200:  # noqa: ASYNC110
            await trio.sleep(0.05)  # real time: the server comes back


async def test_rooms_are_spread_and_the_same_on_all_nodes(servers: tuple[RedisServer, RedisServer]) -> None:
    async with serving("fast", **on(*servers)) as one, serving("fast", **on(*servers)) as two:
        for room_id in ROOMS:
            assert (await one.put(room_id, {"n": 1})).status_code == 200
        async with two.watch(FIRST) as first, two.watch(SECOND) as second:
            heard = []
            for watcher, room_id in ((first, FIRST), (second, SECOND)):
                await watcher.event()
                await one.put(room_id, {"n": 1})
                heard.append((await watcher.event()).data["version"])
        read = [(await two.get(room_id)).json()["version"] for room_id in ROOMS]
        pages: list[dict[str, object]] = []
        cursor = ""
        while not pages or cursor:
            page = await two.http.get(f"/api/rooms?limit=7&cursor={cursor}", headers=ADMIN)
            pages += page.json()["rooms"]
            cursor = page.json()["next_cursor"] or ""
        odd = [
            (await two.http.get(f"/api/rooms?cursor={given}", headers=ADMIN)).status_code
            for given in ("7~", "x~", "-1~", "1~x")
        ]
        metrics = (await one.http.get("/metrics", headers=ADMIN)).text
    kept = []
    for server in servers:
        with Redis.from_url(server.url) as client:
            kept.append(len(client.keys("gr:{*}:r:*")))

    assert heard == [1, 1]
    assert read == [1] * len(ROOMS)
    assert sorted(str(row["room_id"]) for row in pages) == sorted([*ROOMS, FIRST, SECOND])
    assert odd == [422] * 4
    assert sum(kept) == len(ROOMS) + 2
    assert min(kept) > 0
    assert f"greenroom_room_writes_total {len(ROOMS) + 2}.0" in metrics


async def test_a_server_that_is_away_takes_its_rooms_alone_with_it(
    servers: tuple[RedisServer, RedisServer],
) -> None:
    _, lost = servers
    async with (
        serving("fast", **on(*servers)) as node,
        node.watch(FIRST) as there,
        node.watch(SECOND) as away,
    ):
        for room_id, watcher in ((FIRST, there), (SECOND, away)):
            await watcher.event()
            await node.put(room_id, {"n": 1})
            await watcher.event()
        lost.kill()
        rooms = node.program.core.rooms
        await eventually(lambda: rooms.trouble is not None)  # type: ignore[union-attr]
        written, refused = await node.put(FIRST, {"n": 2}), await node.put(SECOND, {"n": 2})
        heard = await there.event()
        reads = [(await node.get(room_id)).status_code for room_id in (FIRST, SECOND)]
        listed = await node.http.get("/api/rooms", headers=ADMIN)
        health = await node.http.get("/internal/health")
        lost.start()
        await until_written(node, SECOND)
        version = 0
        while version == 0:
            version = (await away.event()).data.get("version", 0)
        await eventually(lambda: rooms.trouble is None)  # type: ignore[union-attr]
        recovered = await node.http.get("/internal/health")

    assert written.status_code == 200
    assert heard.data == written.json()
    assert (refused.status_code, refused.json()["error"]) == (503, "store_unavailable")
    assert reads == [200, 503]
    assert listed.status_code in {200, 503}  # it begins with the server that is there
    assert health.json()["status"] == "degraded"
    assert str(lost.port) in health.json()["room_store"]
    assert str(servers[0].port) not in health.json()["room_store"]
    assert "room_store" not in recovered.json()


async def test_a_node_with_another_list_refuses_to_start(servers: tuple[RedisServer, RedisServer]) -> None:
    one, two = servers
    async with serving("fast", **on(one, two)) as node:
        await node.put(FIRST, {"n": 1})
        await node.put(SECOND, {"n": 1})
    lines = [await refusal_to_start(**on(two, one)), await refusal_to_start(**on(one))]
    async with serving("fast", **on(one, two)) as node:
        again = await node.get(SECOND)

    assert all(line.startswith("greenroom: REDIS_URL: gr:layout says") for line in lines)
    assert again.status_code == 200
