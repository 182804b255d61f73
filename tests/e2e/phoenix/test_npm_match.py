"""The npm client, unmodified, on a whole node: real lanes, a real queue, a real match."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.e2e.phoenix.npm_client import VERSIONS, NpmClient, npm_client, unavailable
from tests.engines import RedisServer, free_port
from tests.play.running_system import PLAYERS, ROOM, System, running_system, token

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(unavailable() is not None, reason=str(unavailable())),
]
versions = pytest.mark.parametrize("version", VERSIONS)
both_transports = pytest.mark.parametrize("transport", ["websocket", "longpoll"])

TOPIC = f"room:{ROOM}"
EVENTS = (
    "player:joined",
    "player:disconnected",
    "player:reconnected",
    "game:started",
    "game:hand_updated",
    "game:action_applied",
    "game:turn_changed",
    "game:ended",
    "game:aborted",
    "chat:new_message",
)


@asynccontextmanager
async def client_of(system: System, version: str, user_id: str, **options: Any) -> AsyncIterator[NpmClient]:
    """A client with a good token, connected."""
    url = f"{system.url}/socket"
    async with npm_client(version, url, params={"token": token(user_id)}, **options) as client:
        await client.tell("connect")
        await client.hear("open")
        yield client


@asynccontextmanager
async def players(system: System, version: str, **options: Any) -> AsyncIterator[dict[str, NpmClient]]:
    """Both players, joined; the game has begun."""
    async with (
        client_of(system, version, "ann", **options) as ann,
        client_of(system, version, "bob", **options) as bob,
    ):
        both = {"ann": ann, "bob": bob}
        for client in both.values():
            await client.join(TOPIC, events=EVENTS)
        yield both


class Hand:
    """What one player holds, and whose turn it is, as far as their client knows."""

    def __init__(self) -> None:
        self.cards: list[dict[str, Any]] = []
        self.turn = ""
        self.ended: dict[str, Any] | None = None

    def take(self, event: str, payload: dict[str, Any]) -> None:
        match event:
            case "game:started":
                self.cards, self.turn = payload["your_hand"], payload["first_turn"]
            case "game:hand_updated":
                self.cards = payload["hand"]
            case "game:turn_changed":
                self.turn = payload["current_turn"]
            case "game:ended":
                self.ended = payload


async def play(client: NpmClient, me: str) -> dict[str, Any]:
    """Play to the end; what `game:ended` said."""
    hand, moves = Hand(), 0
    while hand.ended is None:
        said = await client.hear("event")
        hand.take(said["event"], said["payload"])
        while hand.turn == me and hand.cards:
            moves += 1
            move = {"action": "play_card", "card_id": hand.cards[0]["id"], "nonce": f"{me}-{moves}"}
            answer = await client.push(TOPIC, "game:action", move)
            if answer["status"] == "ok":
                hand.turn = ""
            else:
                assert answer["response"]["reason"] == "rate_limited", answer
                await trio.sleep(0.25)  # real time: the rate limit
    return hand.ended


@versions
async def test_two_clients_play_a_match(redis_server: RedisServer, version: str) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        endings: dict[str, dict[str, Any]] = {}

        async def one(client: NpmClient, me: str) -> None:
            endings[me] = await play(client, me)

        async with players(system, version) as both:
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    for me, client in both.items():
                        nursery.start_soon(one, client, me)
            finished = await system.told("finished")

        assert endings["ann"] == endings["bob"]
        assert finished["winner_id"] == endings["ann"]["winner"]


@versions
@both_transports
async def test_a_client_rejoins_by_itself_after_the_match_crashed(
    redis_server: RedisServer, version: str, transport: str
) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with players(system, version, transport=transport) as both:
            ann = both["ann"]
            hand = (await ann.hear("event", event="game:started"))["payload"]["your_hand"]
            system.kill_match()
            await ann.hear("channel_error", topic=TOPIC)
            again = (await ann.hear("joined", topic=TOPIC))["response"]
            assert again["status"] == "playing"
            assert again["game"]["your_hand"][: len(hand)] == hand


@versions
async def test_a_stranger_is_refused_and_does_not_ask_again(redis_server: RedisServer, version: str) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with client_of(system, version, "eve") as eve:
            await eve.tell("join", topic=TOPIC)
            assert (await eve.hear("refused"))["response"] == {"reason": "not_expected"}
            assert "refused" not in {event["on"] for event in await eve.quiet(1.5)}


@versions
async def test_a_second_client_takes_the_place_of_the_first(redis_server: RedisServer, version: str) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with players(system, version) as both, client_of(system, version, "ann") as newer:
            joined = await newer.join(TOPIC, events=EVENTS)
            assert joined["game"]["your_hand"]
            await both["ann"].hear("channel_close", topic=TOPIC)
            assert "joined" not in {event["on"] for event in await both["ann"].quiet(1.5)}


@versions
@both_transports
async def test_players_see_each_other_and_talk(
    redis_server: RedisServer, version: str, transport: str
) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with players(system, version, transport=transport) as both:
            ann, bob = both["ann"], both["bob"]
            await ann.tell("presence", topic=TOPIC)
            answer = await bob.push(TOPIC, "chat:send", {"content": "hello"})
            assert answer["status"] == "ok"
            said = (await ann.hear("event", event="chat:new_message"))["payload"]
            assert (said["sender_id"], said["content"]) == ("bob", "hello")
            await bob.tell("leave", topic=TOPIC)
            gone = await ann.hear("event", event="player:disconnected")
            assert gone["payload"]["user_id"] == "bob"


@versions
async def test_a_client_comes_back_to_a_node_that_was_drained(
    redis_server: RedisServer, version: str
) -> None:
    port = free_port()
    url, params = f"http://127.0.0.1:{port}/socket", {"token": token("ann")}
    async with npm_client(version, url, params=params) as client:
        async with running_system(redis_server, PORT=port) as system:
            await client.tell("connect")
            await client.join("state:lobby", events=("state",))
            system.node.program.stop()
            assert (await client.hear("close"))["code"] == 1012
        async with running_system(redis_server, PORT=port) as again:
            await client.hear("joined", topic="state:lobby")
            await again.node.put("lobby", {"n": 1})
            told = await client.hear("event", event="state")
            assert told["payload"]["state"] == {"n": 1}


@versions
async def test_a_refused_connect_is_an_error_and_no_open(redis_server: RedisServer, version: str) -> None:
    async with (
        running_system(redis_server) as system,
        npm_client(version, f"{system.url}/socket", params={"token": "bad"}) as client,
    ):
        await client.tell("connect")
        await client.hear("error")
        await client.tell("params", params={"token": token(PLAYERS[0])})
        await client.hear("open")


async def test_the_newest_client_may_hide_its_token_in_a_subprotocol(redis_server: RedisServer) -> None:
    async with running_system(redis_server) as system:
        await system.ready()
        async with npm_client("1.8", f"{system.url}/socket", authToken=token("ann")) as client:
            await client.tell("connect")
            assert (await client.join(TOPIC))["status"] == "ready"
