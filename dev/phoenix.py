"""A small Phoenix client on trio: the V2 serializer over a WebSocket, as phoenix.js uses it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import ClientConnection, connect

HEARTBEAT_S: Final = 30.0
ANSWER_S: Final = 10.0
# Why the server ends a channel, as an event on it.
CLOSED: Final = "phx_close"
CRASHED: Final = "phx_error"
REPLY: Final = "phx_reply"


class ChannelEvent(NamedTuple):
    """An event the server pushed on a topic.

    Attributes:
        event: Such as `game:started`.
        payload: Whatever came with it.
    """

    event: str
    payload: dict[str, Any]


class PushReply(NamedTuple):
    """The reply to a push.

    Attributes:
        status: `ok` or `error`.
        response: Whatever came with it.
    """

    status: str
    response: dict[str, Any]


class JoinRefused(Exception):
    """The server refused the join.

    Attributes:
        response: What it said, usually `{"reason": …}`.
    """

    def __init__(self, topic: str, response: Mapping[str, Any]) -> None:
        super().__init__(f"{topic}: {response.get('reason')}")
        self.response = response


class Disconnected(Exception):
    """The socket was closed.

    Attributes:
        code: Of the close frame, 1006 if there was none.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"the socket has ended with {code}")
        self.code = code


class Channel:
    """A joined channel.

    Attributes:
        topic: Which.
        joined: What the join was answered with.
    """

    def __init__(self, socket: PhoenixSocket, topic: str) -> None:
        self.topic = topic
        self.joined: dict[str, Any] = {}
        self._socket = socket
        self._join_ref: str | None = None
        # One client's events of one match; a program that stops reading is its own problem.
        self._hear, self._heard = trio.open_memory_channel[ChannelEvent](math.inf)

    async def join(self, payload: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Join, or rejoin after `phx_error`; return the server's response.

        Raises:
            JoinRefused: The server said no.
        """
        self._join_ref = self._socket.next_ref()
        answer = await self._socket.ask(self._join_ref, self._join_ref, self.topic, "phx_join", payload or {})
        if answer.status != "ok":
            raise JoinRefused(self.topic, answer.response)
        self.joined = answer.response
        return answer.response

    async def push(self, event: str, payload: Mapping[str, Any] | None = None) -> PushReply:
        """Push an event and wait for its reply."""
        ref = self._socket.next_ref()
        return await self._socket.ask(self._join_ref, ref, self.topic, event, payload or {})

    async def leave(self) -> PushReply:
        """Leave the topic."""
        return await self.push("phx_leave")

    async def hear(self) -> ChannelEvent:
        """Wait for the next event and return it.

        Raises:
            Disconnected: There will be no more.
        """
        try:
            return await self._heard.receive()
        except trio.EndOfChannel:
            raise Disconnected(self._socket.close_code) from None

    async def until(self, event: str) -> dict[str, Any]:
        """Return the payload of the next event of this name; events before it are dropped."""
        while True:
            heard = await self.hear()
            if heard.event == event:
                return heard.payload

    def take(self, join_ref: str | None, heard: ChannelEvent) -> None:
        """Buffer an event for `hear`; events of an earlier join are dropped, as phoenix.js does."""
        if join_ref is None or join_ref == self._join_ref:
            self._hear.send_nowait(heard)

    def end(self) -> None:
        """Close the buffer: no more events will arrive."""
        self._hear.close()


class PhoenixSocket:
    """An open socket; made by `phoenix`.

    Attributes:
        close_code: Of the server's close frame, once there was one.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.close_code = 1006
        self._connection = connection
        self._refs = itertools.count(1)
        self._channels: dict[str, Channel] = {}
        self._asked: dict[str, trio.MemorySendChannel[PushReply]] = {}
        self._ended = False

    def channel(self, topic: str) -> Channel:
        """Return a channel that is not joined yet; at most one for each topic."""
        return self._channels.setdefault(topic, Channel(self, topic))

    async def join(self, topic: str) -> Channel:
        """Join a topic and return its channel.

        Raises:
            JoinRefused: The server said no.
        """
        channel = self.channel(topic)
        await channel.join()
        return channel

    def next_ref(self) -> str:
        """Return the next message ref."""
        return str(next(self._refs))

    async def ask(self, join_ref: str | None, ref: str, topic: str, event: str, payload: object) -> PushReply:
        """Send one message and wait for its reply.

        Raises:
            Disconnected: The socket was closed.
            trio.TooSlowError: There was no answer in time.
        """
        if self._ended:
            raise Disconnected(self.close_code)
        self._asked[ref], answer = trio.open_memory_channel[PushReply](1)
        try:
            with trio.fail_after(ANSWER_S):
                await self._connection.send(json.dumps([join_ref, ref, topic, event, payload]))
                return await answer.receive()
        except (ConnectionClosed, trio.EndOfChannel):
            raise Disconnected(self.close_code) from None
        finally:
            self._asked.pop(ref, None)

    async def read(self) -> None:
        """Dispatch received messages until the socket closes."""
        try:
            async for frame in self._connection:
                self._take(json.loads(frame))
        except ConnectionClosed:
            pass
        finally:
            self._end()

    def _take(self, frame: list[Any]) -> None:
        join_ref, ref, topic, event, payload = frame
        if event == REPLY:
            asked = self._asked.get(ref)
            if asked is not None:
                asked.send_nowait(PushReply(payload["status"], payload["response"]))
        elif topic in self._channels:
            self._channels[topic].take(join_ref, ChannelEvent(event, payload))

    def _end(self) -> None:
        self._ended = True
        self.close_code = self._connection.close_code or self.close_code
        for answer in tuple(self._asked.values()):
            answer.close()
        for channel in self._channels.values():
            channel.end()

    async def beat(self) -> None:
        """Send heartbeats until cancelled."""
        while not self._ended:
            await trio.sleep(HEARTBEAT_S)
            await self.ask(None, self.next_ref(), "phoenix", "heartbeat", {})


@asynccontextmanager
async def phoenix(url: str, **parameters: str) -> AsyncIterator[PhoenixSocket]:
    """Connect for as long as the block lasts.

    Args:
        url: Of the node, such as `http://localhost:4000`.
        parameters: Such as `token`.

    Raises:
        websockets.exceptions.InvalidStatus: The connect was refused.
    """
    target = url.replace("http", "ws", 1).rstrip("/") + "/socket/websocket?"
    query = urlencode({**parameters, "vsn": "2.0.0"})
    async with connect(target + query, compression=None, proxy=None) as connection:
        socket = PhoenixSocket(connection)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(socket.read)
            nursery.start_soon(socket.beat)
            yield socket
            nursery.cancel_scope.cancel()
