"""The npm client, unmodified, in three versions, over WebSockets and long polls."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest
import trio

from tests.e2e.phoenix.harness import Harness, harness
from tests.e2e.phoenix.npm_client import VERSIONS, npm_client, unavailable

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(unavailable() is not None, reason=str(unavailable())),
]
versions = pytest.mark.parametrize("version", VERSIONS)
both_transports = pytest.mark.parametrize("transport", ["websocket", "longpoll"])


class Restartable:
    """A server that can be dropped and started again on its port."""

    def __init__(self, server: Harness, scope: trio.CancelScope, nursery: trio.Nursery) -> None:
        self.server = server
        self._scope = scope
        self._nursery = nursery

    @property
    def url(self) -> str:
        return self.server.url

    async def restart(self) -> None:
        """Drop every connection without a word, and listen again."""
        self._scope.cancel()
        await trio.sleep(0.05)  # real time: the client sees the end before the port listens again
        self._scope = await self.server.listen(self._nursery)


@pytest.fixture
async def node() -> AsyncIterator[Restartable]:
    async with harness() as (server, scope, nursery):
        yield Restartable(server, scope, nursery)


@versions
@both_transports
async def test_a_client_connects_joins_pushes_and_leaves(
    node: Restartable, version: str, transport: str
) -> None:
    async with npm_client(version, node.url, params={"token": "ann"}, transport=transport) as client:
        await client.tell("connect")
        await client.hear("open")
        assert await client.join("room:1", events=("joined",)) == {}
        assert (await client.hear("event", event="joined"))["payload"] == {"user_id": "ann"}

        answer = await client.push("room:1", "echo", {"a": 1})
        assert (answer["status"], answer["response"]) == ("ok", {"said": {"a": 1}})

        await client.tell("leave", topic="room:1")
        await client.hear("channel_close", topic="room:1")
        await client.tell("state", topic="room:1")
        assert (await client.hear("state"))["state"] == "closed"


@versions
@both_transports
async def test_a_refused_connect_is_tried_again(node: Restartable, version: str, transport: str) -> None:
    async with npm_client(version, node.url, params={"token": "bad"}, transport=transport) as client:
        await client.tell("connect")
        await client.hear("error")
        await client.tell("params", params={"token": "ann"})
        await client.hear("open")
        assert await client.join("room:1") == {}


@versions
async def test_a_refused_join_has_its_reason_and_is_tried_again(node: Restartable, version: str) -> None:
    async with npm_client(version, node.url, params={"token": "ann"}) as client:
        await client.tell("connect")
        await client.tell("join", topic="room:1", payload={"do": "refuse"})

        assert (await client.hear("refused"))["response"] == {"reason": "unauthorized"}
        assert (await client.hear("refused"))["response"] == {"reason": "unauthorized"}


@versions
async def test_a_join_refused_for_good_is_not_tried_again(node: Restartable, version: str) -> None:
    async with npm_client(version, node.url, params={"token": "ann"}) as client:
        await client.tell("connect")
        await client.tell("join", topic="room:1", payload={"do": "refuse for good"})
        await client.hear("refused")
        await client.hear("channel_close")

        assert "refused" not in {event["on"] for event in await client.quiet(1.5)}


@versions
async def test_an_unmatched_topic_is_told(node: Restartable, version: str) -> None:
    async with npm_client(version, node.url, params={"token": "ann"}) as client:
        await client.tell("connect")
        await client.tell("join", topic="nobody:1")

        assert (await client.hear("refused"))["response"] == {"reason": "unmatched topic"}


@versions
@both_transports
async def test_a_channel_that_crashes_is_joined_again(
    node: Restartable, version: str, transport: str
) -> None:
    async with npm_client(version, node.url, params={"token": "ann"}, transport=transport) as client:
        await client.tell("connect")
        await client.join("room:1")

        await client.tell("push", id="x", topic="room:1", event="crash")
        await client.hear("channel_error", topic="room:1")
        await client.hear("joined", topic="room:1")

        assert (await client.push("room:1", "echo"))["status"] == "ok"


@versions
async def test_a_channel_the_server_closes_is_not_joined_again(node: Restartable, version: str) -> None:
    async with npm_client(version, node.url, params={"token": "ann"}) as client:
        await client.tell("connect")
        await client.join("room:1")

        await client.tell("push", id="x", topic="room:1", event="close")
        await client.hear("channel_close", topic="room:1")

        assert "joined" not in {event["on"] for event in await client.quiet(1.5)}


@versions
@both_transports
async def test_a_client_comes_back_after_a_restart(node: Restartable, version: str, transport: str) -> None:
    async with npm_client(version, node.url, params={"token": "ann"}, transport=transport) as client:
        await client.tell("connect")
        await client.join("room:1")

        await node.restart()

        if transport == "websocket":
            await client.hear("close")
        await client.hear("joined", topic="room:1")
        assert (await client.push("room:1", "echo"))["status"] == "ok"


@versions
@pytest.mark.parametrize(("ending", "code"), [("logout", 1001), ("drain", 1012), ("fault", 1007)])
async def test_a_client_comes_back_after_every_code_we_close_with(
    node: Restartable, version: str, ending: str, code: int
) -> None:
    async with npm_client(version, node.url, params={"token": "ann"}) as client:
        await client.tell("connect")
        await client.join("room:1")

        match ending:
            case "logout":
                assert node.server.sockets.logout("ann") == 1
            case "drain":
                await node.server.sockets.drain(0.1)
                node.server.sockets.draining = False
            case _:
                await client.tell("raw", frame="nonsense")

        assert (await client.hear("close"))["code"] == code
        await client.hear("open")
        await client.hear("joined", topic="room:1")


@versions
@both_transports
async def test_a_logged_out_client_joins_again(node: Restartable, version: str, transport: str) -> None:
    async with npm_client(version, node.url, params={"token": "ann"}, transport=transport) as client:
        await client.tell("connect")
        await client.join("room:1")

        node.server.sockets.logout("ann")

        await client.hear("joined", topic="room:1")


@versions
async def test_a_client_that_loses_its_connection_comes_back(node: Restartable, version: str) -> None:
    async with npm_client(version, node.url, params={"token": "ann"}) as client:
        await client.tell("connect")
        await client.join("room:1")

        await client.tell("drop")

        await client.hear("close")
        await client.hear("joined", topic="room:1")
        assert len(node.server.sockets) == 1


@versions
async def test_joining_twice_closes_the_first_channel_only(node: Restartable, version: str) -> None:
    async with npm_client(version, node.url, params={"token": "ann"}) as client:
        await client.tell("connect")
        await client.join("room:1")
        await client.join("room:1")

        assert (await client.push("room:1", "echo"))["status"] == "ok"
        lefts = [[why.value for why in lobby.lefts] for lobby in node.server.lobby.lobbies]
        assert lefts in ([["left"], []], [["rejoined"], []])


@versions
async def test_binary_goes_up_and_down(node: Restartable, version: str) -> None:
    async with npm_client(version, node.url, params={"token": "ann"}) as client:
        await client.tell("connect")
        await client.join("room:1", events=("blob",))
        blob = base64.b64encode(bytes(range(256))).decode()

        answer = await client.push("room:1", "echo", base64=blob)
        assert (answer["status"], answer["response"]) == ("ok", {"base64": blob})

        node.server.lobby.lobbies[0].socket.push("blob", bytes(range(256)))
        assert (await client.hear("event", event="blob"))["payload"] == {"base64": blob}


@pytest.mark.parametrize("version", ["1.7", "1.8"])
async def test_binary_goes_up_over_a_long_poll(node: Restartable, version: str) -> None:
    async with npm_client(version, node.url, params={"token": "ann"}, transport="longpoll") as client:
        await client.tell("connect")
        await client.join("room:1")
        await client.tell("push", id="x", topic="room:1", event="blob", base64="AQID")
        await client.push("room:1", "echo")

        assert node.server.lobby.lobbies[0].received[0].payload == b"\x01\x02\x03"


@versions
@both_transports
async def test_presence_is_synced_and_follows(node: Restartable, version: str, transport: str) -> None:
    async with (
        npm_client(version, node.url, params={"token": "ann"}, transport=transport) as ann,
        npm_client(version, node.url, params={"token": "bob"}) as bob,
    ):
        await ann.tell("connect")
        await ann.tell("join", topic="party:1", events=["said"])
        await ann.tell("presence", topic="party:1")
        first = await ann.hear("presence")
        assert [*first["list"]] == ["ann"]

        await bob.tell("connect")
        await bob.tell("join", topic="party:1")
        await bob.tell("presence", topic="party:1")
        assert [*(await bob.hear("presence"))["list"]] == ["ann", "bob"]
        assert [*(await ann.hear("presence"))["list"]] == ["ann", "bob"]

        assert (await bob.push("party:1", "say"))["status"] == "ok"
        assert (await ann.hear("event", event="said"))["payload"] == {"by": "bob"}

        await bob.tell("disconnect")
        assert [*(await ann.hear("presence"))["list"]] == ["ann"]


async def test_the_newest_client_may_hide_its_token_in_a_subprotocol(node: Restartable) -> None:
    async with npm_client("1.8", node.url, authToken="ann") as client:
        await client.tell("connect")
        await client.hear("open")
        await client.join("room:1", events=("joined",))

        assert (await client.hear("event"))["payload"] == {"user_id": "ann"}


async def test_the_newest_client_may_hide_its_token_while_it_polls(node: Restartable) -> None:
    async with npm_client("1.8", node.url, authToken="ann", transport="longpoll") as client:
        await client.tell("connect")
        await client.join("room:1", events=("joined",))

        assert (await client.hear("event"))["payload"] == {"user_id": "ann"}


@pytest.mark.parametrize("version", ["1.7", "1.8"])
async def test_where_websockets_do_not_work_the_client_falls_back_to_polls(
    node: Restartable, version: str
) -> None:
    node.server.websockets_work = False
    async with npm_client(version, node.url, params={"token": "ann"}, longPollFallbackMs=300) as client:
        await client.tell("connect")

        assert (await client.hear("open"))["transport"] == "longpoll"
        assert await client.join("room:1") == {}


@pytest.mark.parametrize("version", ["1.7", "1.8"])
async def test_where_websockets_work_the_client_stays_with_them(node: Restartable, version: str) -> None:
    async with npm_client(version, node.url, params={"token": "ann"}, longPollFallbackMs=1000) as client:
        await client.tell("connect")
        await client.join("room:1")

        assert "longpoll" not in {event.get("transport") for event in await client.quiet(1.5)}


@versions
async def test_heartbeats_are_answered(node: Restartable, version: str) -> None:
    async with npm_client(version, node.url, params={"token": "ann"}, heartbeatIntervalMs=100) as client:
        await client.tell("connect")
        await client.hear("open")

        assert [event["on"] for event in await client.quiet(1.0)] == []
