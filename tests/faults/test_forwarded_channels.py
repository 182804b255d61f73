"""Players of a match whose node hangs or dies: what they hear, and how soon."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
import trio

from dev.phoenix import Channel, JoinRefused, phoenix
from tests.engines import RedisServer
from tests.fakes.api_server import api_server
from tests.fakes.node import job
from tests.play.running_system import PLAYERS, ROOM, SECRET, play, token
from tests.web.serving import Node, Served, served, serving
from web.channels.channel_forwarder import ANSWER_S, BEAT_S, LEASE_S

pytestmark = pytest.mark.slow
WITHIN_S = 60.0
# For a busy machine.
SLACK_S = 10.0


@dataclass
class TwoNodes:
    """A host in a process of its own, and a node for players in this one."""

    host: Served
    door: Node

    @asynccontextmanager
    async def players(self) -> AsyncIterator[tuple[Channel, Channel]]:
        url = f"http://127.0.0.1:{self.door.port}"
        async with phoenix(url, token=token("ann")) as ann, phoenix(url, token=token("bob")) as bob:
            with trio.fail_after(WITHIN_S):
                yield await ann.join(f"room:{ROOM}"), await bob.join(f"room:{ROOM}")


@pytest.fixture
async def nodes(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[TwoNodes]:
    shared = {"REDIS_URL": redis_server.url, "JWT_SECRET": SECRET}
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(api_server())
        env = {**shared, "API_BASE_URL": api.base_url, "NODE_NAME": "host", "DATA_DIR": str(tmp_path)}
        host = await stack.enter_async_context(served("fast", env))
        with redis.Redis.from_url(redis_server.url) as queue:
            queue.lpush("room_creation_queue", job(ROOM, players=PLAYERS))
        with trio.fail_after(WITHIN_S):
            await api.until_acknowledged(ROOM, "ready")
        door = await stack.enter_async_context(serving("fast", **shared, NODE_NAME="door"))
        inbox = door.program.core.nodes.inbox
        assert inbox is not None
        with trio.fail_after(WITHIN_S):
            await inbox.until_up()
        yield TwoNodes(host, door)


async def test_a_match_whose_node_hangs_times_out_then_breaks_and_goes_on_when_it_wakes(
    nodes: TwoNodes,
) -> None:
    async with nodes.players() as (ann, bob):
        nodes.host.process.send_signal(signal.SIGSTOP)
        began = trio.current_time()
        answer = await ann.push("game:action", {"action": "play_card", "card_id": "x", "nonce": "n"})
        assert answer.response == {"accepted": False, "reason": "timeout"}
        assert trio.current_time() - began < ANSWER_S + SLACK_S
        for channel in (ann, bob):
            await channel.until("phx_error")
        assert trio.current_time() - began < LEASE_S + BEAT_S + SLACK_S
        with pytest.raises(JoinRefused) as refused:
            await ann.join()
        # The claim lapses with the node's lease.
        assert refused.value.response["reason"] in {"join timeout", "join crashed", "room_not_found"}
        nodes.host.process.send_signal(signal.SIGCONT)
        for channel in (ann, bob):
            await join_again(channel)
        await play(ann, bob)


async def test_a_match_whose_node_is_killed_breaks_within_its_lease(nodes: TwoNodes) -> None:
    async with nodes.players() as (ann, bob):
        nodes.host.process.kill()
        await nodes.host.process.wait()
        began = trio.current_time()
        answer = await ann.push("game:action", {"action": "play_card", "card_id": "x", "nonce": "n"})
        # Redis may not have noticed yet that nobody hears it.
        assert answer.response["reason"] in {"unavailable", "timeout"}
        for channel in (ann, bob):
            await channel.until("phx_error")
        assert trio.current_time() - began < LEASE_S + BEAT_S + SLACK_S
        with pytest.raises(JoinRefused) as refused:
            await ann.join()
        # The claim lapses with the node's lease.
        assert refused.value.response["reason"] in {"unavailable", "room_not_found"}


async def test_players_whose_own_node_stalls_are_gone_for_the_others_and_come_back(
    redis_server: RedisServer, nodes: TwoNodes
) -> None:
    env = {"REDIS_URL": redis_server.url, "JWT_SECRET": SECRET, "NODE_NAME": "other-door"}
    async with (
        served("fast", env) as other,
        nodes.players() as (ann, _),
        phoenix(f"http://127.0.0.1:{other.port}", token=token("bob")) as socket,
    ):
        bob = socket.channel(f"room:{ROOM}")
        await join_again(bob)
        other.process.send_signal(signal.SIGSTOP)
        assert (await ann.until("player:disconnected"))["user_id"] == "bob"
        other.process.send_signal(signal.SIGCONT)
        await bob.until("phx_error")
        await join_again(bob)
        assert (await ann.until("player:reconnected"))["user_id"] == "bob"


async def join_again(channel: Channel) -> None:
    """As clients do."""
    with trio.fail_after(WITHIN_S):
        while True:
            try:
                await channel.join()
            except (JoinRefused, trio.TooSlowError):
                await trio.sleep(0.5)  # real time: of other processes
            else:
                return
