"""A result is never lost, whoever is away when the match is over."""

from __future__ import annotations

import json

from tests.engines import RedisServer
from tests.fakes.api_server import Reply
from tests.play.running_system import ROOM, System, play, running_system
from tests.web.serving import eventually

KEY = f"persist_failed:{ROOM}"


async def finish(system: System) -> dict[str, object]:
    """Play to the end while the API server is away; what it should have heard."""
    system.api.always(Reply(503))
    async with system.players() as players:
        bots = await play(*players)
    ended = bots[0].ended
    assert ended is not None
    return {"room_id": ROOM, "winner_id": ended["winner"]}


async def test_a_result_nobody_takes_waits_in_redis_for_seven_days(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        expected = await finish(system)
        await eventually(lambda: system.queue.exists(KEY))

        assert 604_790 < int(str(system.queue.ttl(KEY))) <= 604_800
        kept = json.loads(system.queue.get(KEY))  # type: ignore[arg-type]
        assert kept.items() >= expected.items()
        assert system.api.calls(ROOM).count("finished") == 3
        await eventually(lambda: not any(system.spool.iterdir()))


async def test_the_recovery_tells_it_when_the_api_server_is_back(redis_server: RedisServer) -> None:
    async with running_system(
        redis_server, PERSIST_RECOVERY_ENABLED="true", PERSIST_RECOVERY_INTERVAL_SECONDS=0.2
    ) as system:
        await system.ready()
        expected = await finish(system)
        await eventually(lambda: system.queue.exists(KEY))
        system.api.always(None)

        told = await system.told("finished")
        assert told.items() >= expected.items()
        await eventually(lambda: not system.queue.exists(KEY))
        keys = {
            said.headers["idempotency-key"] for said in system.api.received if said.path.endswith("/finished")
        }
        assert len(keys) == 1


async def test_with_redis_away_too_it_waits_on_the_disk(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        system.api.always(Reply(503))
        async with system.players() as players:
            redis_server.kill()
            await play(*players)
        await eventually(lambda: system.spool.is_dir() and any(system.spool.glob("*.json")))
        kept = json.loads((system.spool / f"{ROOM}.json").read_bytes())
        redis_server.start()

        await eventually(lambda: not any(system.spool.iterdir()))
        assert json.loads(system.queue.get(KEY)) == kept  # type: ignore[arg-type]


async def test_a_match_that_is_under_way_does_not_notice_that_redis_is_away(
    redis_server: RedisServer,
) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with system.players() as players:
            redis_server.kill()
            await play(*players)
            await system.told("finished")
        assert system.api.calls(ROOM) == ["ready", "started", "finished"]
