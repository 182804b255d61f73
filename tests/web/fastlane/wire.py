"""A WebSocket client that says exactly what it is told, right or wrong, over a real connection."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from websockets.frames import Close, Frame, Opcode

from tests.web.serving import PATIENCE_S, Node, Stream

TOPIC = "state:wire"
HANDSHAKE = (
    b"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True, mask: bool = True) -> bytes:
    """One frame, as a client sends it unless told otherwise."""
    return Frame(opcode, data, fin).serialize(mask=mask)


def text(data: bytes, **more: bool) -> bytes:
    return frame(Opcode.TEXT, data, **more)


def cont(data: bytes, **more: bool) -> bytes:
    return frame(Opcode.CONT, data, **more)


def ping(data: bytes = b"") -> bytes:
    return frame(Opcode.PING, data)


def close(code: int | None = None, reason: str = "") -> bytes:
    data = b"" if code is None else code.to_bytes(2) + reason.encode()
    return frame(Opcode.CLOSE, data)


def push(ref: str, said: object = "", topic: str = TOPIC) -> bytes:
    """The text of a push that is answered with `read_only`."""
    return json.dumps(["1", ref, topic, "say", {"said": said}], ensure_ascii=False).encode()


class Wire:
    """One connection, after its handshake."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._data = bytearray()

    async def send(self, *data: bytes, at_once: int | None = None) -> None:
        """Send bytes, in pieces of `at_once` if given."""
        whole = b"".join(data)
        step = at_once or len(whole) or 1
        for at in range(0, len(whole), step):
            await self.stream.send_all(whole[at : at + step])

    async def frame(self) -> Frame | None:
        """The server's next frame; None at the end."""
        with trio.fail_after(PATIENCE_S):
            while (found := self._cut()) is None:
                try:
                    more = await self.stream.receive_some()
                except trio.BrokenResourceError:
                    return None
                if not more:
                    return None
                self._data += more
        return found

    def _cut(self) -> Frame | None:
        data = self._data
        if len(data) < 2:
            return None
        length, at = data[1], 2
        if length >= 126:
            at = 4 if length == 126 else 10
            length = int.from_bytes(data[2:at])
        if len(data) < at + length:
            return None
        found = Frame(Opcode(data[0] & 0x0F), bytes(data[at : at + length]), bool(data[0] & 0x80))
        del data[: at + length]
        return found

    async def hear(self) -> Any:
        """The next message, decoded; anything else is a failure."""
        found = await self.frame()
        assert found is not None, "the connection has ended"
        assert found.opcode is Opcode.TEXT, found
        return json.loads(bytes(found.data))

    async def answered(self, ref: str) -> None:
        """The next message answers this push."""
        _, told, _, event, payload = await self.hear()
        assert (told, event, payload["response"]) == (ref, "phx_reply", {"reason": "read_only"})

    async def closed(self) -> int | None:
        """The code of the server's close, whatever comes before it; None if there is none."""
        while (found := await self.frame()) is not None:
            if found.opcode is Opcode.CLOSE:
                return Close.parse(found.data).code if found.data else None
        return None


@asynccontextmanager
async def wire(node: Node) -> AsyncIterator[Wire]:
    """A connection that has joined a topic."""
    async with await node.connect() as stream:
        await stream.send_all(HANDSHAKE)
        head = b""
        with trio.fail_after(PATIENCE_S):
            while not head.endswith(b"\r\n\r\n"):
                head += await stream.receive_some(1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        opened = Wire(stream)
        await opened.send(text(json.dumps(["1", "1", TOPIC, "phx_join", {}]).encode()))
        assert (await opened.hear())[4]["status"] == "ok"
        yield opened
