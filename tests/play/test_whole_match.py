"""A match from the matchmaker's push to the API server's last word, over real sockets."""

from __future__ import annotations

import trio

from tests.engines import RedisServer
from tests.play.running_system import ROOM, System, play, running_system


async def test_a_match_is_played_from_the_job_to_the_result(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with system.players() as (ann, bob):
            assert (await system.told("started"))["player_ids"] == ["ann", "bob"]
            bots = await play(ann, bob)
            finished = await system.told("finished")

        ended = bots[0].ended
        assert ended is not None
        assert ended == bots[1].ended
        assert finished["winner_id"] == ended["winner"]
        assert finished["result_data"] == {
            "players": ended["final_state"],
            "turns_played": ended["turns_played"],
            "duration_seconds": ended["duration_seconds"],
        }
        shown = await system.until_status("finished")
        assert shown["result"]["winner"] == ended["winner"]
        assert system.api.calls(ROOM) == ["ready", "started", "finished"]


async def test_the_match_goes_on_after_its_task_was_killed(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with system.players() as (ann, bob):
            await system.told("started")
            before = (await system.state())["game"]
            system.kill_match()
            assert await ann.until("phx_error") == {"reason": "channel_crash"}
            await bob.until("phx_error")
            await ann.join()
            again = await bob.join()
            assert again["status"] == "playing"
            assert (await system.state())["game"] == before
            bots = await play(ann, bob)
            finished = await system.told("finished")
        assert bots[0].ended is not None
        assert finished["winner_id"] == bots[0].ended["winner"]
        assert system.api.calls(ROOM) == ["ready", "started", "finished"]


async def test_bots_finish_a_match_whose_task_is_killed_again_and_again(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with system.players() as (ann, bob), trio.open_nursery() as nursery:
            nursery.start_soon(_kill_now_and_then, system)
            bots = await play(ann, bob)
            nursery.cancel_scope.cancel()
        finished = await system.told("finished")
        assert bots[0].ended is not None
        assert finished["winner_id"] == bots[0].ended["winner"]


async def _kill_now_and_then(system: System) -> None:
    while True:
        await trio.sleep(2.0)  # real time: between moves of the bots
        system.kill_match()
