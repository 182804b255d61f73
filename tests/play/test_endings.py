"""Every other way a match can end, and what its players may and may not do meanwhile."""

from __future__ import annotations

import json

import pytest
from trio.testing import wait_all_tasks_blocked
from websockets.exceptions import InvalidStatus

from dev.phoenix import Disconnected, JoinRefused, phoenix
from tests.engines import RedisServer
from tests.fakes.waiting import until
from tests.play.running_system import ROOM, play, running_system, token
from tests.web.serving import eventually


async def test_a_match_nobody_joins_is_aborted(redis_server: RedisServer) -> None:
    async with running_system(redis_server, JOIN_TIMEOUT_SECONDS=0.3) as system:
        await system.ready()
        async with system.player("ann") as ann:
            told = await ann.until("game:aborted")
            assert told["reason"] == "join_timeout"
        assert (await system.told("aborted"))["reason"] == "join_timeout"
        assert system.api.calls(ROOM) == ["ready", "aborted"]


async def test_who_leaves_while_playing_has_lost(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with system.players() as (ann, bob):
            assert (await ann.push("room:leave")).response == {}
            assert (await bob.until("player:left"))["user_id"] == "ann"
            ended = await bob.until("game:ended")
            assert (ended["winner"], ended["reason"]) == ("bob", "opponent_forfeit")
            finished = await system.told("finished")
        assert finished["winner_id"] == "bob"
        assert finished["result_data"]["players"]["ann"]["result"] == "loser"


async def test_who_never_comes_back_is_skipped_turn_after_turn(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready(turn_time_limit=0.2)
        async with system.player("ann") as ann:
            async with system.player("bob"):
                await system.told("started")
            assert (await ann.until("player:disconnected"))["user_id"] == "bob"
            (bot,) = await play(ann)
            finished = await system.told("finished")
        assert bot.ended is not None
        assert finished["winner_id"] == "ann"
        assert "game:turn_skipped" in bot.heard


async def test_a_match_everybody_has_left_is_aborted_after_the_grace(redis_server: RedisServer) -> None:
    async with running_system(redis_server, RECONNECT_GRACE_SECONDS=0.3) as system:
        await system.ready()
        async with system.players():
            await system.told("started")
        assert (await system.told("aborted"))["reason"] == "all_disconnected"
        shown = await system.state()
        assert [player["connected"] for player in shown["players"]] == [False, False]


async def test_a_match_whose_channels_have_all_crashed_is_aborted_after_the_grace(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug in a channel")

    async with running_system(redis_server, RECONNECT_GRACE_SECONDS=0.3) as system:
        await system.ready()
        async with system.players() as players:
            await system.told("started")
            monkeypatch.setattr(system.node.program.core.matches.players, "broadcast", broken)
            for player in players:
                await player.push("chat:send", {"content": "hi"})
                await player.until("phx_error")
            assert (await system.told("aborted"))["reason"] == "all_disconnected"


async def test_within_the_grace_everything_is_still_there(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with system.players() as (ann, _):
            hand = (await ann.until("game:started"))["your_hand"]
        await eventually(lambda: system.node.program.core.matches.players.connected_players == 0)
        async with system.players() as (ann, bob):
            assert ann.joined["game"]["your_hand"][:3] == hand
            await play(ann, bob)
        assert system.api.calls(ROOM)[:2] == ["ready", "started"]


async def test_an_operator_ends_a_match(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with system.players() as (ann, bob):
            await system.told("started")
            command = {"command": "terminate", "room_id": ROOM, "reason": "admin_terminated"}
            await until(lambda: system.queue.publish("room_commands", json.dumps(command)))
            assert (await ann.until("game:aborted"))["reason"] == "admin_terminated"
            await bob.until("game:aborted")
            aborted = await system.told("aborted")
        assert aborted["reason"] == "admin_terminated"


async def test_a_match_that_crashes_past_its_limit_is_given_up(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with system.players() as (ann, _):
            await system.told("started")
            for _ in range(4):
                system.kill_match()
                await wait_all_tasks_blocked(0.02)
            await ann.until("phx_error")
            assert (await system.told("aborted"))["reason"] == "process_error"
            assert (await ann.join())["status"] == "aborted"
            # There is nothing left to crash but the match's afterlife.
        # In this order; a crash may have one of them told again.
        assert list(dict.fromkeys(system.api.calls(ROOM))) == ["ready", "started", "aborted"]


async def test_the_api_server_that_no_longer_knows_the_room_ends_it(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        system.api.rooms = set()
        async with system.players() as (ann, _):
            assert (await ann.until("game:aborted"))["reason"] == "room_unknown"
        assert system.api.calls(ROOM) == ["ready", "started"]


async def test_a_stranger_is_not_expected(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with system.socket("eve") as eve:
            with pytest.raises(JoinRefused, match="not_expected"):
                await eve.join(f"room:{ROOM}")
            with pytest.raises(JoinRefused, match="room_not_found"):
                await eve.join("room:elsewhere")


async def test_without_a_good_token_nobody_connects(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        for parameters in ({}, {"token": "nonsense"}, {"token": token("ann", secret="x" * 32)}):
            with pytest.raises(InvalidStatus) as refused:
                async with phoenix(system.url, **parameters):
                    pass
            assert refused.value.response.status_code == 403


async def test_a_second_connection_takes_the_place_of_the_first(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with system.players() as (ann, bob), system.player("ann") as newer:
            assert await ann.until("phx_close") == {}
            assert newer.joined["game"]["your_hand"]
            await play(newer, bob)
        assert "player:left" not in system.api.calls(ROOM)


async def test_the_same_state_is_on_the_room_and_on_its_topic(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with system.socket("eve") as eve:
            watching = await eve.join(f"state:{ROOM}")
            assert watching.joined["state"]["status"] == "ready"
            async with system.players() as players:
                await play(*players)
                state = watching.joined["state"]
                while state["status"] != "finished":
                    state = (await watching.until("state"))["state"]
                assert state == await system.state()


async def test_a_drain_ends_the_match_and_closes_its_players_with_1012(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with system.players() as (ann, bob):
            system.node.program.stop()
            for channel in (ann, bob):
                assert (await channel.until("game:aborted"))["reason"] == "process_error"
                with pytest.raises(Disconnected, match="1012"):
                    await channel.until("nothing that ever comes")
        assert (await system.told("aborted"))["reason"] == "process_error"


async def test_a_node_that_drains_leaves_jobs_to_others(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        system.api.delay_s = 60
        system.push_job()
        await eventually(lambda: system.api.calls(ROOM) == ["ready"])
        system.node.program.stop()
        await eventually(lambda: system.queue.llen("room_creation_queue") == 1)
        system.api.delay_s = 0
        async with running_system(redis_server) as other:
            await other.told("ready")


async def test_health_counts_players_who_are_connected(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with system.players():
            facts = (await system.node.http.get("/internal/health")).json()
            assert (facts["connected_players"], facts["active_rooms"]) == (2, 1)
        metrics = (await system.node.http.get("/metrics")).text
        assert "greenroom_sockets_opened_total 2.0" in metrics
