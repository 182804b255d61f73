"""A node is killed while it tells the result of a match: the next one tells it, once."""

from __future__ import annotations

from pathlib import Path

import redis
import trio

from dev.phoenix import phoenix
from tests.engines import RedisServer
from tests.fakes.api_server import ApiServer, Fault, api_server
from tests.fakes.node import job
from tests.faults.test_ledger_kills import ServerProcess, serving
from tests.play.running_system import PLAYERS, ROOM, SECRET, WITHIN_S, token
from tests.web.serving import eventually


async def finish_unheard(url: str, api: ApiServer, queue: redis.Redis) -> None:
    """Play a match to the end before an API server that takes `finished` and does not answer."""
    queue.lpush("room_creation_queue", job(ROOM, players=PLAYERS))
    await api.until_acknowledged(ROOM, "ready")
    async with phoenix(url, token=token("ann")) as ann, phoenix(url, token=token("bob")) as bob:
        room = await ann.join(f"room:{ROOM}")
        await bob.join(f"room:{ROOM}")
        await api.until_acknowledged(ROOM, "started")
        api.always(Fault.HANG)
        await room.push("room:leave", {})
        await api.until(lambda: "finished" in api.calls(ROOM))


async def test_a_node_that_is_killed_while_it_tells_a_result_leaves_it_to_the_next(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    left = tmp_path / "persist_failed" / f"{ROOM}.json"
    async with api_server() as api:
        settings = {"REDIS_URL": redis_server.url, "API_BASE_URL": api.base_url, "JWT_SECRET": SECRET}
        server = ServerProcess(tmp_path, settings)
        with trio.fail_after(2 * WITHIN_S), redis.Redis.from_url(redis_server.url) as queue:
            async with serving(server):
                await finish_unheard(server.url, api, queue)
                await eventually(left.exists)
            heard = api.calls(ROOM).count("finished")
            assert not queue.exists(f"persist_failed:{ROOM}")

            api.always(None)
            async with serving(server):
                await api.until_acknowledged(ROOM, "finished")
                await eventually(lambda: not left.exists())
            assert not queue.exists(f"persist_failed:{ROOM}")

    assert api.calls(ROOM).count("finished") == heard + 1
    assert len({said.headers["idempotency-key"] for said in api.received if said.call == "finished"}) == 1
