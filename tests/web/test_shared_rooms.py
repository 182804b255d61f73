"""Rooms on several nodes: one writes, all answer; and a Redis that goes away and comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
import trio
from redis import Redis

from actors.core import ConflatingMember, TooMany
from actors.rooms import SharedRooms
from supervision import State
from tests.engines import RedisServer
from tests.web.serving import ADMIN, PATIENCE_S, Node, eventually, refusal_to_start, serving
from web.handlers.rooms import RoomHandlers

Change = Callable[[Redis], object]


@asynccontextmanager
async def nodes(server: RedisServer, count: int = 2, **settings: object) -> AsyncIterator[list[Node]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                serving(
                    "fast", NODE_NAME=f"node-{number}", ROOM_STORE="redis", REDIS_URL=server.url, **settings
                )
            )
            for number in range(count)
        ]


async def put(node: Node, number: int, room_id: str = "r") -> httpx.Response:
    return await node.put(room_id, {"n": number})


async def until_written(node: Node, number: int) -> httpx.Response:
    """Write again and again, as a client does that is told to come back."""
    with trio.fail_after(PATIENCE_S):
        while (answer := await put(node, number)).status_code == 503:
            assert int(answer.headers["retry-after"]) >= 1
            await trio.sleep(0.02)  # real time: the store is on its way back
    return answer


async def test_a_write_at_one_node_is_read_and_heard_at_the_other(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as [one, two], two.watch("r") as watcher:
        assert (await watcher.event()).id == "none-0"
        first = await put(one, 1)
        read = await two.get("r")
        heard = await watcher.event()
        second = await put(two, 2)
        later = await watcher.event()

    assert read.content == first.content
    assert read.headers["etag"] == first.headers["etag"] == f'"{heard.id}"'
    assert heard.data == first.json()
    assert later.data == second.json()
    assert second.json()["version"] == 2


async def test_a_stream_hears_every_version_whoever_writes(redis_server: RedisServer) -> None:
    async with nodes(redis_server, 3) as [one, two, three], three.watch("r") as watcher:
        await watcher.event()

        async def write(node: Node) -> None:
            for number in range(20):
                await put(node, number)

        async with trio.open_nursery() as nursery:
            for node in (one, two, three):
                nursery.start_soon(write, node)
        heard = [(await watcher.event()).data["version"] for _ in range(60)]

    assert heard == list(range(1, 61))


async def test_resume_works_at_another_node(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as [one, two]:
        first = (await put(one, 1)).headers["etag"].strip('"')
        await put(one, 2)
        async with two.watch("r", Last_Event_ID=first) as watcher:
            behind = await watcher.event()
        async with two.watch("r", Last_Event_ID=behind.id or "") as watcher:
            await put(one, 3)
            next_one = await watcher.event()

    assert (behind.event, behind.data["version"]) == ("state", 2)
    assert (next_one.event, next_one.data["version"]) == ("state", 3)


async def test_a_removal_is_heard_everywhere(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as [one, two], two.watch("r") as watcher:
        await watcher.event()
        before = await put(one, 1)
        await watcher.event()
        gone = await one.http.delete("/api/rooms/r", headers=ADMIN)
        told = await watcher.event()
        after = await put(two, 2)
        again = await watcher.event()

    assert gone.status_code == 204
    assert told.id == "none-0"
    assert again.data == after.json()
    assert after.json()["version"] == 1
    assert after.headers["etag"] != before.headers["etag"]


async def test_a_stream_hears_that_its_room_was_too_old(redis_server: RedisServer) -> None:
    async with nodes(redis_server, ROOM_TTL_SECONDS=1) as [one, two], two.watch("r") as watcher:
        await watcher.event()
        await put(one, 1)
        await watcher.event()
        told = await watcher.event()

    assert told.id == "none-0"


async def test_all_nodes_may_restart_and_nothing_is_reset(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as [one, _]:
        first = await one.put("r", {"n": 1}, X_Room_Secret="s3cret")
    async with nodes(redis_server) as [one, two]:
        read = await two.get("r")
        refused = await put(two, 2)
        async with one.watch("r", Last_Event_ID=read.headers["etag"].strip('"')) as watcher:
            second = await two.put("r", {"n": 2}, X_Room_Secret="s3cret")
            heard = await watcher.event()

    assert read.content == first.content
    assert refused.status_code == 403
    assert heard.event == "state"
    assert heard.data == second.json()


async def test_while_redis_is_away_writes_are_refused_and_streams_stay(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as [one, two], two.watch("r") as watcher:
        await watcher.event()
        await put(one, 1)
        await watcher.event()
        redis_server.kill()
        await eventually(lambda: one.program.core.rooms.trouble is not None)  # type: ignore[union-attr]
        refused, unread = await put(one, 2), await one.get("r")
        health, healthz = await one.http.get("/internal/health"), await one.http.get("/healthz")
        redis_server.start()
        written = await until_written(one, 3)
        told = [await watcher.event(), await watcher.event()]
        with trio.fail_after(PATIENCE_S):
            while (await one.http.get("/internal/health")).status_code != 200:  # noqa: ASYNC110
                await trio.sleep(0.02)  # real time: as above

    assert (refused.status_code, refused.json()["error"]) == (503, "store_unavailable")
    assert (unread.status_code, unread.json()["error"]) == (503, "store_unavailable")
    assert (health.status_code, healthz.status_code) == (503, 200)
    assert health.json()["away"] == ["room_store"]
    assert str(redis_server.port) in health.json()["room_store"]
    # A restart of Redis may have lost writes, so the next write begins a new epoch.
    assert [frame.event for frame in told] == ["reset", "state"]
    assert told[1].data == written.json()
    assert written.json()["version"] == 1


async def test_a_stream_hears_what_was_written_while_its_node_could_not(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as [one, two], two.watch("r") as watcher:
        await watcher.event()
        await put(one, 1)
        await watcher.event()
        with Redis.from_url(redis_server.url) as client:
            for _ in range(3):
                client.client_kill_filter(_type="pubsub")
                await put(one, 2)
        version = 0
        while version < 4:
            version = (await watcher.event()).data["version"]

    assert version == 4


async def test_a_hung_redis_is_answered_for(redis_server: RedisServer) -> None:
    async with nodes(redis_server, 1) as [one]:
        await put(one, 1)
        redis_server.pause()
        answer = await put(one, 2)
        redis_server.resume()
        written = await until_written(one, 3)

    assert (answer.status_code, answer.json()["error"]) == (503, "outcome_unknown")
    assert written.json()["state"] == {"n": 3}


@pytest.mark.parametrize("kind", ["list", "string"])
async def test_what_is_not_ours_under_a_rooms_key_is_left_alone(redis_server: RedisServer, kind: str) -> None:
    async with nodes(redis_server, 1) as [one]:
        await put(one, 1)
        with Redis.from_url(redis_server.url) as client:
            [key] = client.keys("*:r:r")
            client.delete(key)
            client.lpush(key, "x") if kind == "list" else client.set(key, "x" * 300)
            answers = [
                await one.get("r"),
                await put(one, 2),
                await one.http.get("/api/rooms/r/stream"),
            ]
            kept = client.llen(key) if kind == "list" else client.strlen(key)

    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [
        (503, "foreign_value")
    ] * 3
    assert all("retry-after" in answer.headers for answer in answers)
    assert kept == (1 if kind == "list" else 300)


async def test_a_full_redis_is_too_much_state(redis_server: RedisServer) -> None:
    async with nodes(redis_server, 1) as [one]:
        await put(one, 1)
        with Redis.from_url(redis_server.url) as client:
            client.config_set("maxmemory", 1)
            full = await put(one, 2)
            client.config_set("maxmemory", 0)
        after = await put(one, 3)

    assert (full.status_code, full.json()["error"]) == (503, "too_much_state")
    assert after.json()["version"] == 2


async def test_the_list_counts_the_streams_of_all_nodes(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as [one, two]:
        await put(one, 1)

        async def streams() -> int:
            rows = (await one.http.get("/api/rooms", headers=ADMIN)).json()["rooms"]
            [count] = [row["streams"] for row in rows]
            return int(count)

        async def until(count: int) -> None:
            with trio.fail_after(PATIENCE_S):
                while await streams() != count:  # noqa: ASYNC110
                    await trio.sleep(0.05)  # real time: nodes tell each other every two seconds

        async with one.watch("r") as here, two.watch("r") as there, two.watch("r") as also_there:
            for watcher in (here, there, also_there):
                await watcher.event()
            await until(3)
        await until(0)


async def test_a_node_with_another_layout_refuses_to_start(redis_server: RedisServer) -> None:
    with Redis.from_url(redis_server.url) as client:
        client.set("gr:layout", "gr9 64 2")
    line = await refusal_to_start(ROOM_STORE="redis", REDIS_URL=redis_server.url)

    assert line.startswith("greenroom: REDIS_URL: gr:layout says")
    assert "'gr9 64 2'" in line


async def test_a_node_that_meets_another_layout_later_serves_on_and_says_so(
    redis_server: RedisServer,
) -> None:
    async with nodes(redis_server, 1) as [one]:
        await put(one, 1)
        with Redis.from_url(redis_server.url) as client:
            client.set("gr:layout", "gr9 64 2")
            client.client_kill_filter(skipme=True)
        rooms = one.program.core.rooms
        await eventually(lambda: "gr:layout" in (rooms.trouble or ""))  # type: ignore[union-attr]
        refused = await put(one, 2)
        with Redis.from_url(redis_server.url) as client:
            client.delete("gr:layout")
        written = await until_written(one, 3)

    assert refused.json()["error"] == "store_unavailable"
    assert written.json()["version"] == 2


REFUSALS = [
    (
        "READONLY",
        lambda client: client.replicaof("127.0.0.1", 1),
        lambda client: client.replicaof("NO", "ONE"),
    ),
    (
        "NOREPLICAS",
        lambda client: client.config_set("min-replicas-to-write", 3),
        lambda client: client.config_set("min-replicas-to-write", 0),
    ),
    (
        "NOAUTH",
        lambda client: (client.config_set("requirepass", "x"), client.client_kill_filter(skipme=True)),
        lambda client: client.config_set("requirepass", ""),
    ),
    ("NOSCRIPT", lambda client: client.script_flush(), lambda client: None),
    (
        "NOPERM",
        lambda client: client.acl_setuser("default", commands=["-set"]),
        lambda client: client.acl_setuser("default", commands=["+@all"]),
    ),
]


@pytest.mark.parametrize(
    ("refuse", "allow"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS]
)
async def test_a_redis_that_refuses_is_answered_for_and_heals(
    redis_server: RedisServer, refuse: Change, allow: Change
) -> None:
    async with nodes(redis_server) as [one, two], two.watch("r") as watcher:
        await watcher.event()
        await put(one, 1)
        await watcher.event()
        with Redis.from_url(redis_server.url) as client:
            refuse(client)
            answers = [await put(one, 2), await put(one, 3)]
            allow(client)
        written = await until_written(one, 4)
        version = 0
        while version != written.json()["version"]:
            version = (await watcher.event()).data.get("version", 0)
        restarts = one.program.tree.subtrees["integrations"].which_children()

    assert {answer.status_code for answer in answers} <= {200, 503}
    codes = {answer.json().get("error") for answer in answers}
    assert codes <= {None, "store_unavailable", "outcome_unknown"}
    assert all(child.state is State.RUNNING for child in restarts)


async def test_nobody_joins_a_room_that_was_not_opened(redis_server: RedisServer) -> None:
    async with nodes(redis_server, 1) as [one]:
        with pytest.raises(TooMany):
            one.program.core.rooms.join("r", ConflatingMember())  # type: ignore[arg-type]

    assert one.program.core.rooms.streams("r") == 0


@pytest.mark.parametrize("room_id", ["r", "none", "a.b", "%72", "r?x=1", "x" * 65, "-"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_request_like_the_one_before_is_answered_like_a_first_one(
    redis_server: RedisServer, method: str, room_id: str
) -> None:
    path = f"/api/rooms/{room_id}"
    async with nodes(redis_server) as [one, two]:
        await one.put("r", {"n": 1}, X_Room_Secret="s3cret")
        for node in (one, one, two):  # the second of one connection takes the short path
            await node.http.request(method, "/api/rooms/warm", content=b'{"state":{}}')
        short = await one.http.request(method, path, content=b'{"state":{}}')
        full = await two.http.request(method, path, content=b'{"state":{}} ')

    assert short.status_code == full.status_code
    if method == "GET" or short.status_code != 200:
        assert short.content == full.content
        assert short.headers.get("etag") == full.headers.get("etag")
    else:
        assert (short.json()["version"], full.json()["version"]) == (1, 2)


@pytest.mark.parametrize("step", ["read_then", "_read_answer"])
async def test_a_fault_on_the_short_path_is_500_and_the_node_serves_on(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError(step)

    async with nodes(redis_server, 1) as [one]:
        await put(one, 1)
        before = await one.get("r")
        with monkeypatch.context() as broken:
            broken.setattr(SharedRooms if step == "read_then" else RoomHandlers, step, crash)
            during = await one.get("r")
        after = await one.get("r")

    assert (before.status_code, during.status_code, after.status_code) == (200, 500, 200)
    assert during.json()["error"] == "internal_error"


async def test_many_readers_at_once_cost_one_command(redis_server: RedisServer) -> None:
    async with nodes(redis_server, 1) as [one]:
        await put(one, 1)
        answers: list[int] = []
        requests = b"GET /api/rooms/r HTTP/1.1\r\nHost: x\r\n\r\n"

        async def read() -> None:
            async with await one.connect() as stream:
                await stream.send_all(requests)
                answers.append(len(await stream.receive_some()))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(read)
        metrics = (await one.http.get("/metrics")).text

    assert len(answers) == 50
    joined = next(
        line for line in metrics.splitlines() if line.startswith("greenroom_room_reads_joined_total")
    )
    assert float(joined.split()[1]) > 0


async def test_local_reads_see_the_clients_own_writes(redis_server: RedisServer) -> None:
    async with nodes(redis_server, ROOM_READS="local") as [one, two], one.watch("r") as watcher:
        await watcher.event()
        for number in range(1, 21):
            writer = one if number % 2 else two
            written = await put(writer, number)
            if writer is one:
                assert (await one.get("r")).json()["version"] >= written.json()["version"]
        while (await watcher.event()).data["version"] < 20:
            pass
        metrics = (await one.http.get("/metrics")).text

    assert 'greenroom_rooms_healed_total{cause="missed"} 0.0' in metrics


async def test_a_match_publishes_its_record_to_all_nodes(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as [one, two], two.watch("m") as watcher:
        await watcher.event()
        await put(two, 1, "m")
        await watcher.event()
        one.program.core.rooms.publish("m", b'{"status":"ready"}')
        taken = await watcher.event()
        refused = await put(two, 2, "m")
        one.program.core.rooms.remove("m")
        gone = await watcher.event()

    assert taken.data["state"] == {"status": "ready"}
    assert taken.data["version"] == 1
    assert refused.json()["error"] == "room_is_authoritative"
    assert gone.id == "none-0"


async def test_a_match_published_while_redis_was_away_is_published_later(redis_server: RedisServer) -> None:
    async with nodes(redis_server, 1) as [one]:
        rooms = one.program.core.rooms
        redis_server.kill()
        await eventually(lambda: rooms.trouble is not None)  # type: ignore[union-attr]
        rooms.publish("m", b'{"turn":1}')
        rooms.publish("m", b'{"turn":2}')
        redis_server.start()
        with trio.fail_after(PATIENCE_S):
            while (answer := await one.get("m")).status_code != 200:  # noqa: ASYNC110
                await trio.sleep(0.02)  # real time: as above

    assert answer.json()["state"] == {"turn": 2}


@pytest.mark.parametrize("listeners", [1, 17])
async def test_deliveries_and_round_trips_are_timed(redis_server: RedisServer, listeners: int) -> None:
    async with nodes(redis_server, 1) as [node], AsyncExitStack() as stack:
        for _ in range(listeners):
            watcher = await stack.enter_async_context(node.watch("r"))
            await watcher.event()
        await put(node, 1)  # the first is timed, and then one in `SAMPLE_EVERY`
        audiences = node.program.core.registry.audiences
        await eventually(lambda: audiences.deliveries.count == 1)
        metrics = (await node.http.get("/metrics")).text

    def timed(link: str) -> float:
        name = f'greenroom_redis_round_trip_seconds_count{{link="{link}"}} '
        return next(float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith(name))

    assert timed("rooms") > 0
    assert timed("nodes") > 0
    assert timed("jobs") >= 0
