"""A small server of nothing but channels, on a real port: raw WebSockets and long polls.

It stands where the server's own lanes stand, with channels that do on request
what a channel of a match does only once in a while: crash, end, stay silent.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httptools
import trio

from actors.core import Trace
from tests.fakes.life import LoneLife
from tests.web.channels.support import Lobby, LobbyChannel
from web.channels.channel import ChannelSocket, LeaveReason, Push
from web.channels.handshake import upgrade
from web.channels.identity import User
from web.channels.long_poll import LongPolls
from web.channels.room_presence import RoomPresence
from web.channels.router import ChannelRouter
from web.channels.session_registry import SessionRegistry
from web.channels.socket_auth import SocketAuth
from web.channels.websocket import AbortReason, WebSocket
from web.handlers.cors import Cors
from web.handlers.http import Answer, Request

WEBSOCKET: Final = "/socket/websocket"
LONGPOLL: Final = "/socket/longpoll"


class Trust:
    """Believes that a token is the user's name, but for `bad`."""

    async def verify(self, token: str, trace: Trace | None = None) -> User | None:
        return None if token == "bad" else User(token, token.title())


class Party(Lobby):
    """A lobby with presence."""

    def __init__(self, socket: ChannelSocket, presence: RoomPresence) -> None:
        super().__init__(socket)
        self.presence = presence
        self.user = socket.user

    def after_join(self) -> None:
        self.presence.track(self, "today")

    def handle_in(self, push: Push) -> None:
        super().handle_in(push)
        if push.event == "say":
            self.presence.broadcast("said", {"by": self.user.user_id})
            push.reply("ok", {})

    def terminate(self, why: LeaveReason) -> None:
        super().terminate(why)
        self.presence.untrack(self)

    def push(self, event: str, payload: Any) -> bool:
        return self.socket.push(event, payload)

    def send(self, broadcast: Any) -> bool:
        return self.socket.send(broadcast)

    def close(self) -> None:
        self.socket.close()


class Sink:
    """A socket's writing end."""

    def __init__(self, sock: socket.socket, nursery: trio.Nursery) -> None:
        self._sock = sock
        self._nursery = nursery
        self.websocket: WebSocket | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._sock.send(data)
        except OSError:
            return 0

    def want_flush(self) -> None:
        self._nursery.start_soon(self._flush)

    async def _flush(self) -> None:
        await trio.lowlevel.wait_writable(self._sock)
        assert self.websocket is not None
        self.websocket.flush()

    def finish(self, cut: AbortReason | None) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR if cut is None else socket.SHUT_RDWR)
        except OSError:
            pass


@dataclass
class Head:
    """A request's head, as httptools reads it."""

    url: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode()


class Harness:
    """The server.

    Attributes:
        lobby: The topics `room:*`.
        presence: The people of the topics `party:*`.
        refusing: Whether new connections are refused with 403.
    """

    def __init__(self) -> None:
        self.lobby = LobbyChannel()
        self.presence = RoomPresence("party:1")
        topics = ChannelRouter({"room:*": self.lobby.join, "party:1": self._party})
        self.sockets = SessionRegistry(topics)
        self.auth = SocketAuth(self.sockets, Trust(), Cors())
        self.polls = LongPolls(self.auth, window_s=2.0)
        self.websockets_work = True
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/socket"

    def _party(self, socket: ChannelSocket, payload: object) -> None:
        socket.accept(Party(socket, self.presence), {})

    async def listen(self, nursery: trio.Nursery) -> trio.CancelScope:
        """Serve until the returned scope is cancelled, which drops all connections without a word."""
        listener = socket.create_server(("127.0.0.1", self.port))
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        scope = trio.CancelScope()
        nursery.start_soon(self._accept, listener, scope)
        return scope

    async def _accept(self, listener: socket.socket, scope: trio.CancelScope) -> None:
        with listener, scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.sockets.run, LoneLife())
                while True:
                    await trio.lowlevel.wait_readable(listener)
                    sock, _ = listener.accept()
                    sock.setblocking(False)
                    nursery.start_soon(self._serve, sock)

    async def _serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                while await self._request(sock):
                    pass
            except OSError:
                pass

    async def _request(self, sock: socket.socket) -> bool:
        head, method, body = await _read_request(sock)
        if head is None:
            return False
        path, _, query = head.url.decode().partition("?")
        if path == WEBSOCKET:
            await self._websocket(sock, query, head.headers)
            return False
        request = Request(method, tuple(path.strip("/").split("/")), query, head.headers, body, "")
        handler = self.polls.post if method == "POST" else self.polls.get
        await _send(sock, _http(await handler(request)))
        return True

    async def _websocket(self, sock: socket.socket, query: str, headers: Mapping[str, str]) -> None:
        if not self.websockets_work:
            await trio.sleep_forever()
        admitted = await self.auth.admit(query, headers)
        response = admitted if isinstance(admitted, Answer) else upgrade(headers, admitted.subprotocol)
        if isinstance(response, Answer) or isinstance(admitted, Answer):
            await _send(sock, _http(admitted if isinstance(admitted, Answer) else Answer(400)))
            return
        await _send(sock, response)
        async with trio.open_nursery() as nursery:
            sink = Sink(sock, nursery)
            websocket = sink.websocket = WebSocket(sink, now=self.sockets.now())
            websocket.attach(self.sockets.open(admitted.user, admitted.serializer, websocket))
            try:
                while data := await _receive(sock):
                    websocket.feed(data, self.sockets.now())
            finally:
                websocket.eof()
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def harness() -> AsyncIterator[tuple[Harness, trio.CancelScope, trio.Nursery]]:
    """A server that listens, until the block ends."""
    server = Harness()
    async with trio.open_nursery() as nursery:
        yield server, await server.listen(nursery), nursery
        nursery.cancel_scope.cancel()


async def _read_request(sock: socket.socket) -> tuple[Head | None, str, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = await _receive(sock)
        if not more:
            return None, "", b""
        data += more
    end = data.index(b"\r\n\r\n") + 4
    head = Head()
    parser = httptools.HttpRequestParser(head)
    try:
        parser.feed_data(data[:end])
    except httptools.HttpParserUpgrade:
        pass
    body = data[end:]
    while len(body) < int(head.headers.get("content-length", "0")):
        body += await _receive(sock)
    return head, parser.get_method().decode(), body


async def _receive(sock: socket.socket) -> bytes:
    await trio.lowlevel.wait_readable(sock)
    try:
        return sock.recv(65536)
    except ConnectionResetError:
        return b""


async def _send(sock: socket.socket, data: bytes) -> None:
    while data:
        await trio.lowlevel.wait_writable(sock)
        data = data[sock.send(data) :]


def _http(answer: Answer) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} X", f"Content-Length: {len(answer.body)}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + answer.body
