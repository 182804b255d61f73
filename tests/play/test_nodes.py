"""A match on one node, its players on two others, which have no matches of their own."""

from __future__ import annotations

import pytest
import trio

from dev.bot import Bot
from dev.phoenix import Disconnected, JoinRefused, phoenix
from tests.engines import RedisServer
from tests.fakes.waiting import until
from tests.play.nodes import ADMIN_TOKEN, kill_now_and_then, nodes
from tests.play.running_system import PLAYERS, ROOM, WITHIN_S, play, token


async def test_two_players_on_two_nodes_play_a_match_on_a_third(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as n, n.players() as channels:
        ann, bob = await play(*channels)
        finished = await n.host.told("finished")

        assert ann.ended is not None
        assert ann.ended == bob.ended
        assert finished["winner_id"] == ann.ended["winner"]
        assert {*ann.heard} & {*bob.heard} >= {"game:started", "game:hand_updated", "game:turn_changed"}


async def test_a_match_is_played_to_its_end_while_connections_to_redis_are_killed(
    redis_server: RedisServer,
) -> None:
    async with nodes(redis_server) as n, n.players() as channels:
        bots = [Bot(user, channel, pace_s=0.2) for user, channel in zip(PLAYERS, channels, strict=True)]
        with trio.fail_after(2 * WITHIN_S):
            async with trio.open_nursery() as killing:
                killing.start_soon(kill_now_and_then, redis_server, 1.0)
                async with trio.open_nursery() as nursery:
                    for bot in bots:
                        nursery.start_soon(bot.play)
                killing.cancel_scope.cancel()
        finished = await n.host.told("finished")

        assert all(bot.ended is not None for bot in bots)
        assert {bot.ended["winner"] for bot in bots if bot.ended} == {finished["winner_id"]}


async def test_players_see_each_other_talk_and_leave_across_nodes(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as n, n.players() as (ann, bob):
        with trio.fail_after(WITHIN_S):
            assert "bob" in (await ann.until("presence_diff"))["joins"]
            answer = await bob.push("chat:send", {"content": "hello"})
            assert answer.response["sent"] is True
            assert (await ann.until("chat:new_message"))["sender_name"] == "Bob"
            await bob.push("room:leave")
            assert (await ann.until("game:ended"))["winner"] == "ann"


async def test_a_player_who_comes_back_on_another_node_goes_on(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as n, n.players() as (ann, bob):
        with trio.fail_after(WITHIN_S):
            hand = (await ann.until("game:started"))["your_hand"]
            async with n.player(n.doors[1], "ann") as again:
                assert again.joined["game"]["your_hand"][: len(hand)] == hand
                await ann.until("phx_close")
                await bob.until("presence_diff")
                await play(again, bob)


async def test_a_stranger_is_refused_on_any_node(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as n:
        url = f"http://127.0.0.1:{n.doors[0].port}"
        async with phoenix(url, token=token("eve")) as socket:
            with pytest.raises(JoinRefused) as refused:
                await socket.join(f"room:{ROOM}")
        assert refused.value.response == {"reason": "not_expected"}


async def test_players_on_the_node_of_the_match_need_no_message_of_it(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as n, n.host.players() as channels:
        assert n.metric(n.host.node, "channels_forwarded") == n.metric(n.host.node, "channels_hosted") == 0
        with n.deaf():
            await play(*channels)


async def test_without_redis_an_action_is_unavailable_and_afterwards_the_match_goes_on(
    redis_server: RedisServer,
) -> None:
    async with nodes(redis_server) as n, n.players() as (ann, bob):
        redis_server.kill()
        await until(lambda: not n.inbox(n.doors[0]).is_up)
        answer = await ann.push("game:action", {"action": "play_card", "card_id": "x", "nonce": "n"})
        assert answer.response == {"accepted": False, "reason": "unavailable"}
        redis_server.start()
        await n.until_up()
        await play(ann, bob)


async def test_a_match_whose_node_stops_aborts_and_the_players_hear_of_it(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as n, n.players() as (ann, bob):
        n.host.node.program.stop(hurry=True)
        with trio.fail_after(WITHIN_S):
            for channel in (ann, bob):
                assert (await channel.until("game:aborted"))["reason"] == "process_error"


async def test_the_numbers_of_what_is_forwarded_are_metrics(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as n:
        async with n.players():
            assert n.metric(n.doors[0], "channels_forwarded") == 1
            assert n.metric(n.host.node, "channels_hosted") == 2
        await until(lambda: n.metric(n.host.node, "channels_hosted") == 0)


async def test_a_long_poll_is_answered_by_whichever_node_it_reaches(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as n:
        ann, bob = n.doors
        query = {"token": token("ann"), "vsn": "2.0.0"}
        own = (await ann.http.get("/socket/longpoll", params=query)).json()["token"]
        named = {"x-phoenix-longpoll-token": own}
        join = f'["1","1","room:{ROOM}","phx_join",{{}}]'
        lines = {"content-type": "application/x-ndjson"}
        posted = await bob.http.post("/socket/longpoll", params=query, headers=named | lines, content=join)
        assert posted.json() == {"status": 200}
        polled = (await n.host.node.http.get("/socket/longpoll", params=query, headers=named)).json()

        assert (polled["status"], polled["token"]) == (200, own)
        assert '"status":"ok"' in polled["messages"][0]
        await until(lambda: n.metric(n.host.node, "channels_hosted") == 1)


async def test_an_admin_logs_a_user_out_on_every_node(redis_server: RedisServer) -> None:
    async with nodes(redis_server) as n, n.players() as (ann, bob):
        async with n.player(n.doors[1], "ann") as second:
            answer = await n.host.node.http.post(
                "/internal/inspect/users/ann/logout", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}
            )
            said = answer.json()

            assert (said["sockets"], said["coverage"]["silent"]) == (2, [])
            assert sorted(said["coverage"]["answered"]) == ["door-1", "door-2", "host"]
            for channel in (ann, second):
                with trio.fail_after(WITHIN_S), pytest.raises(Disconnected) as ended:
                    await channel.until("never")
                assert ended.value.code == 1001
        assert (await bob.push("chat:send", {"content": "still here"})).status == "ok"
