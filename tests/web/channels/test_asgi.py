from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.web.channels.support import LobbyChannel
from web.channels.asgi import serve
from web.channels.identity import User
from web.channels.router import ChannelRouter
from web.channels.session_registry import SessionRegistry
from web.channels.socket_auth import SocketAuth
from web.channels.transport import CLOSE_S, MAX_MESSAGE_BYTES, MAX_WAITING_BYTES, STALL_S
from web.handlers.cors import Cors


class Tokens:
    """Believes only `good`."""

    async def verify(self, token: str) -> User | None:
        return User("u1", "Ann") if token == "good" else None


class Server:
    """An ASGI server with one client; a test decides whether that reads."""

    def __init__(self, query: str = "vsn=2.0.0&token=good", *, extensions: bool = True) -> None:
        self.lobby = LobbyChannel()
        self.sockets = SessionRegistry(ChannelRouter({"room:*": self.lobby.join}))
        self.auth = SocketAuth(self.sockets, Tokens(), Cors())
        self.scope = {
            "type": "websocket",
            "query_string": query.encode(),
            "extensions": {"websocket.http.response": {}} if extensions else {},
        }
        self.sent: list[dict[str, Any]] = []
        self.reads = True
        self.breaks = False
        self.client, self._receive = trio.open_memory_channel[dict[str, Any]](1000)
        self.client.send_nowait({"type": "websocket.connect"})

    async def send(self, message: dict[str, Any]) -> None:
        if not self.reads:
            await trio.sleep_forever()
        self.sent.append(message)
        await trio.lowlevel.checkpoint()

    async def receive(self) -> dict[str, Any]:
        event = await self._receive.receive()
        if event["type"] == "break":
            raise RuntimeError("the server broke")
        return event

    async def run(self, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await serve(self.scope, named, self.receive, self.send, self.auth)

    def say(self, *parts: object) -> None:
        self.client.send_nowait({"type": "websocket.receive", "text": json.dumps(parts), "bytes": None})

    def hang_up(self) -> None:
        self.client.send_nowait({"type": "websocket.disconnect", "code": 1001})


def cuts(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Why sockets were cut, by the log."""
    return [record.__dict__["reason"] for record in caplog.records if record.message == "socket_cut"]


async def test_a_conversation_from_accept_to_hang_up() -> None:
    server = Server()
    server.say("1", "1", "room:a", "phx_join", {})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        await wait_all_tasks_blocked()
        server.client.send_nowait(
            {"type": "websocket.receive", "text": None, "bytes": b"\x00\x01\x01\x06\x0412room:aecho\xff"}
        )
        await wait_all_tasks_blocked()
        server.hang_up()

    accept, answer, joined, binary = server.sent
    assert accept == {"type": "websocket.accept", "subprotocol": None, "headers": []}
    assert json.loads(answer["text"])[3:] == ["phx_reply", {"status": "ok", "response": {}}]
    assert json.loads(joined["text"])[3] == "joined"
    assert binary["bytes"] == b"\x01\x01\x01\x06\x0212room:aok\xff"
    assert len(server.sockets) == 0
    assert [why.value for why in server.lobby.lobbies[0].lefts] == ["gone"]


async def test_the_subprotocol_is_named_in_the_accept() -> None:
    server = Server()
    server.hang_up()

    await server.run(sec_websocket_protocol="phoenix, other")

    assert server.sent[0]["subprotocol"] == "phoenix"


async def test_a_refusal_is_a_403_with_an_empty_body() -> None:
    server = Server("vsn=2.0.0&token=bad")

    await server.run()

    start, body = server.sent
    assert (start["status"], start["headers"]) == (403, [(b"content-length", b"0")])
    assert body["body"] == b""


async def test_a_server_that_cannot_say_403_closes_before_accepting() -> None:
    server = Server("vsn=2.0.0&token=bad", extensions=False)

    await server.run()

    assert [message["type"] for message in server.sent] == ["websocket.close"]


@pytest.mark.parametrize(("ends", "code"), [("logout", 1001), ("drain", 1012)])
async def test_the_server_s_goodbye_has_its_code(ends: str, code: int) -> None:
    server = Server()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        await wait_all_tasks_blocked()
        if ends == "logout":
            server.sockets.logout("u1")
        else:
            await server.sockets.drain(0.1)
        await wait_all_tasks_blocked()
        server.hang_up()

    assert (server.sent[-1]["type"], server.sent[-1]["code"]) == ("websocket.close", code)


async def test_when_something_breaks_the_code_is_1011() -> None:
    server = Server()
    server.client.send_nowait({"type": "break"})

    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="the server broke")):
        await server.run()

    assert (server.sent[-1]["type"], server.sent[-1]["code"]) == ("websocket.close", 1011)
    assert server.sockets.statistics().ended == {"fault": 1}


@pytest.mark.parametrize(("text", "code"), [("nonsense", 1007), ("x" * (MAX_MESSAGE_BYTES + 1), 1009)])
async def test_bad_frames_are_closed_with_their_code(text: str, code: int) -> None:
    server = Server()
    server.client.send_nowait({"type": "websocket.receive", "text": text, "bytes": None})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        await wait_all_tasks_blocked()
        server.hang_up()

    assert server.sent[-1]["code"] == code


async def test_an_empty_binary_frame_is_a_frame() -> None:
    server = Server()
    server.client.send_nowait({"type": "websocket.receive", "text": None, "bytes": b""})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        await wait_all_tasks_blocked()
        server.hang_up()

    assert server.sent[-1]["code"] == 1003


async def test_a_client_that_does_not_read_is_cut_when_too_much_waits(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = Server()
    server.say("1", "1", "room:a", "phx_join", {})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        await wait_all_tasks_blocked()
        server.reads = False
        for _ in range(300):
            server.lobby.lobbies[0].socket.push("news", {"x": "x" * 1000})

    assert len(server.sockets) == 0
    assert server.sockets.statistics().ended == {"overflow": 1}
    assert cuts(caplog) == ["overflow"]


async def test_a_client_that_is_cut_and_reads_again_is_told_that_it_was_too_slow(
    autojump_clock: MockClock,
) -> None:
    server = Server()
    server.say("1", "1", "room:a", "phx_join", {})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        await wait_all_tasks_blocked()
        server.reads = False
        server.lobby.lobbies[0].socket.push("news", {"x": "x" * MAX_WAITING_BYTES})
        await wait_all_tasks_blocked()
        for _ in range(300):
            server.lobby.lobbies[0].socket.push("news", {"x": "x" * 1000})
        server.reads = True

    assert (server.sent[-1]["type"], server.sent[-1]["code"]) == ("websocket.close", 1013)
    assert server.sent[-1]["reason"] == "too slow"


async def test_a_client_that_takes_nothing_for_half_a_minute_is_cut(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = Server()
    server.say("1", "1", "room:a", "phx_join", {})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        await wait_all_tasks_blocked()
        await server.sockets.sweep()
        server.reads = False
        server.lobby.lobbies[0].socket.push("news", {})
        await trio.sleep(STALL_S)
        await server.sockets.sweep()

    assert len(server.sockets) == 0
    assert server.sockets.statistics().ended == {"stalled": 1}
    assert cuts(caplog) == ["stalled"]


async def test_a_client_that_does_not_let_go_is_cut(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = Server()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        await wait_all_tasks_blocked()
        server.sockets.logout("u1")
        await trio.sleep(CLOSE_S)
        await server.sockets.sweep()

    assert len(server.sockets) == 0
    assert server.sockets.statistics().ended == {"logged_out": 1}
    assert cuts(caplog) == ["no_close"]
