"""The npm client, unmodified, at nodes and workers that do not have the match it plays."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import redis
import trio

from tests.e2e.phoenix.npm_client import NpmClient, npm_client, unavailable
from tests.e2e.phoenix.test_npm_match import EVENTS, Hand
from tests.engines import RedisServer, free_port
from tests.fakes.api_server import ApiServer, api_server
from tests.fakes.node import job
from tests.fakes.waiting import until_some
from tests.play.nodes import Nodes, kill_now_and_then, nodes
from tests.play.running_system import PLAYERS, ROOM, SECRET, token
from tests.web.serving import wait_for_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(unavailable() is not None, reason=str(unavailable())),
]
clients = pytest.mark.parametrize(
    ("version", "transport"),
    [("1.8", "websocket"), ("1.8", "longpoll"), ("1.7", "longpoll")],
)

TOPIC: Final = f"room:{ROOM}"
# Real time: the rate of actions, rejoins after 1, 2, 5 and 10 s, and the deadlines of what was lost.
WITHIN_S: Final = 120.0
PAUSE_S: Final = 0.25
# A match has some twenty moves: connections are ended several times in each.
PACE_S: Final = 0.4
KILL_EVERY_S: Final = 1.2
# Connects until a player meets the worker that does not have the match, which three of four do.
ATTEMPTS: Final = 20
AGAIN: Final = frozenset({"rate_limited", "unavailable", "timeout", "busy"})


class Player:
    """Plays whatever happens to its connection, as a page would: what a join answers is how things stand."""

    def __init__(self, client: NpmClient, me: str, pace_s: float) -> None:
        self._pace_s = pace_s
        self.rejoins = -1
        self.errors = 0
        self._client = client
        self._me = me
        self._hand = Hand()
        self._moves = 0
        self._move: dict[str, Any] | None = None

    async def play(self) -> dict[str, Any]:
        """Play to the end; how it ended."""
        while self._hand.ended is None:
            if self._move is None and self._hand.turn == self._me and self._hand.cards:
                await trio.sleep(self._pace_s)  # real time: of other processes
                self._moves += 1
                nonce = f"{self._me}-{self._moves}"
                self._move = {"action": "play_card", "card_id": self._hand.cards[0]["id"], "nonce": nonce}
                await self._push()
            self._take(said := await self._client.next())
            if said["on"] == "reply":
                await self._answered(said)
        return self._hand.ended

    def _take(self, said: dict[str, Any]) -> None:
        match said["on"]:
            case "event":
                self._hand.take(said["event"], said["payload"])
            case "joined":
                self.rejoins += 1
                self._move = None
                self._look_at(said["response"])
            case "channel_error":
                self.errors += 1
                self._move = None

    def _look_at(self, joined: dict[str, Any]) -> None:
        game = joined.get("game")
        if game is not None:
            self._hand.cards, self._hand.turn = game["your_hand"], game["current_turn"]
        self._hand.ended = joined.get("result")

    async def _answered(self, said: dict[str, Any]) -> None:
        if self._move is None or said["id"] != self._move["nonce"]:
            return
        reason = "timeout" if said["status"] == "timeout" else (said["response"] or {}).get("reason")
        if said["status"] != "ok" and reason in AGAIN:
            await trio.sleep(PAUSE_S)  # real time: the rate limit
            await self._push()
            return
        self._move = None
        if reason != "card_not_in_hand":  # else the hand is another by now, and it is still our turn
            # Made, made before, or too late: the next move is for a turn that is announced.
            self._hand.turn = ""

    async def _push(self) -> None:
        move = self._move
        assert move is not None
        await self._client.tell("push", id=move["nonce"], topic=TOPIC, event="game:action", payload=move)


async def play_both(
    both: dict[str, NpmClient], *, pace_s: float = 0.0
) -> tuple[dict[str, dict[str, Any]], list[Player]]:
    """Let both play to the end: how it ended for each."""
    players = {me: Player(client, me, pace_s) for me, client in both.items()}
    endings: dict[str, dict[str, Any]] = {}

    async def one(me: str) -> None:
        endings[me] = await players[me].play()

    async with trio.open_nursery() as nursery:
        for me in both:
            nursery.start_soon(one, me)
    return endings, list(players.values())


@asynccontextmanager
async def connected(
    version: str, transport: str, ports: dict[str, int]
) -> AsyncIterator[dict[str, NpmClient]]:
    """A client for each player, which has asked to join; what came of it is to be heard."""
    async with AsyncExitStack() as stack:
        both = {}
        for me, port in ports.items():
            url = f"http://127.0.0.1:{port}/socket"
            client = npm_client(version, url, params={"token": token(me)}, transport=transport)
            both[me] = await stack.enter_async_context(client)
            await both[me].tell("connect")
            await both[me].tell("join", topic=TOPIC, payload={}, events=list(EVENTS))
        yield both


@asynccontextmanager
async def spreading(*ports: int) -> AsyncIterator[int]:
    """A port whose requests go to one of these each, as with a proxy that balances without looking."""

    async def serve(client: trio.SocketStream) -> None:
        async with client:
            try:
                request = bytes(await client.receive_some())
                server = await trio.open_tcp_stream("127.0.0.1", random.choice(ports))
                async with server, trio.open_nursery() as nursery:
                    # Clients keep their connections, and each would stay with one node.
                    await server.send_all(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                    nursery.start_soon(copy, server, client, nursery)
                    await copy(client, server, nursery)
            except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass

    async def copy(source: trio.SocketStream, target: trio.SocketStream, nursery: trio.Nursery) -> None:
        async for data in source:
            await target.send_all(data)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected_to(n: Nodes, version: str, transport: str) -> AsyncIterator[dict[str, NpmClient]]:
    """A client for each player, at a node of its own; by long polls at either, whichever has the session."""
    async with AsyncExitStack() as stack:
        ports = {me: door.port for me, door in zip(PLAYERS, n.doors, strict=True)}
        if transport == "longpoll":
            ports = dict.fromkeys(PLAYERS, await stack.enter_async_context(spreading(*ports.values())))
        yield await stack.enter_async_context(connected(version, transport, ports))


@clients
async def test_a_match_is_played_on_two_other_nodes_while_redis_ends_connections(
    redis_server: RedisServer, version: str, transport: str
) -> None:
    async with nodes(redis_server) as n, connected_to(n, version, transport) as both:
        with trio.fail_after(WITHIN_S):
            async with trio.open_nursery() as killing:
                killing.start_soon(kill_now_and_then, redis_server, KILL_EVERY_S)
                endings, _ = await play_both(both, pace_s=PACE_S)
                killing.cancel_scope.cancel()
        finished = await n.host.told("finished")

        assert endings["ann"]["winner"] == endings["bob"]["winner"] == finished["winner_id"]
        polls = [door.program.core.channels.polls.forwarded for door in n.doors]
        assert (transport == "longpoll") == all(polls)
        assert all(n.inbox(door).statistics().lost for door in n.doors)


@clients
async def test_without_faults_nobody_has_to_join_twice(
    redis_server: RedisServer, version: str, transport: str
) -> None:
    async with nodes(redis_server) as n, connected_to(n, version, transport) as both:
        with trio.fail_after(WITHIN_S):
            endings, players = await play_both(both)

        assert endings["ann"] == endings["bob"]
        assert [(player.rejoins, player.errors) for player in players] == [(0, 0), (0, 0)]


@asynccontextmanager
async def two_workers(redis_server: RedisServer, api: ApiServer, directory: Path) -> AsyncIterator[int]:
    """`greenroom serve --workers 2`, until the block ends; its port."""
    port = free_port()
    env = {
        "PATH": str(Path(sys.executable).parent),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATA_DIR": str(directory / "data"),
        "ROOM_STORE": "redis",
        "REDIS_URL": redis_server.url,
        "API_BASE_URL": api.base_url,
        "INTERNAL_API_KEY": "key-1",
        "JWT_SECRET": SECRET,
        "DRAIN_SECONDS": "0",
        "LOG_LEVEL": "warning",
    }
    command = [sys.executable, "-m", "web.cli", "serve", "--workers", "2"]
    process = await trio.lowlevel.open_process(command, env=env, stdout=subprocess.DEVNULL)
    try:
        await wait_for_port(port, within_s=WITHIN_S)
        yield port
    finally:
        process.terminate()
        with trio.CancelScope(shield=True), trio.move_on_after(WITHIN_S):
            await process.wait()


async def sum_of(port: int, metric: str) -> float:
    """A metric, summed over the workers."""
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    return sum(float(value) for value in re.findall(rf"^{metric}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


@pytest.mark.parametrize("transport", ["websocket", "longpoll"])
async def test_a_match_is_played_on_two_workers_while_redis_ends_connections(
    redis_server: RedisServer, tmp_path: Path, transport: str
) -> None:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(api_server())
        port = await stack.enter_async_context(two_workers(redis_server, api, tmp_path))
        with redis.Redis.from_url(redis_server.url) as queue:
            queue.lpush("room_creation_queue", job(ROOM, players=PLAYERS))
        with trio.fail_after(WITHIN_S):
            await api.until_acknowledged(ROOM, "ready")
        for _ in range(ATTEMPTS):
            async with connected("1.8", transport, dict.fromkeys(PLAYERS, port)) as both:
                await until_some(partial(are_playing, port), within_s=WITHIN_S)
                if not await sum_of(port, "greenroom_channels_hosted"):
                    continue  # the kernel has given both to the worker that has the match
                with trio.fail_after(WITHIN_S):
                    async with trio.open_nursery() as killing:
                        killing.start_soon(kill_now_and_then, redis_server, KILL_EVERY_S)
                        endings, _ = await play_both(both, pace_s=PACE_S)
                        killing.cancel_scope.cancel()
                    await api.until_acknowledged(ROOM, "finished")
                break
        else:
            pytest.fail("the kernel never used the other worker")

        assert endings["ann"]["winner"] == endings["bob"]["winner"]
        assert await sum_of(port, "greenroom_node_inbox_lost_total") >= 1


async def are_playing(port: int) -> bool:
    """Whether both players have joined."""
    return await sum_of(port, "greenroom_connected_players") == len(PLAYERS)
