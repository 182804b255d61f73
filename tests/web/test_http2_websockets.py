"""One WebSocket over HTTP/2 with Hypercorn's machinery around it taken away."""

from __future__ import annotations

import zlib
from types import SimpleNamespace
from typing import Any

import pytest
from hypercorn.config import Config
from hypercorn.protocol.events import Data, EndBody, EndData, Request, Response, StreamClosed
from websockets.frames import Frame, Opcode

from web.server.websocket_streams import BoundedWebSocketStream

MAX_BYTES = 1000
STATE: Any = {}
TEXT, BINARY, CONT, CLOSE, PING = Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.CLOSE, Opcode.PING


class Wire:
    """The stream's two sides: what the application is told, and what the client gets."""

    def __init__(self) -> None:
        config = Config()
        config.websocket_max_message_size = MAX_BYTES
        self.told: list[dict[str, Any]] = []
        self.sent: list[Any] = []
        group: Any = SimpleNamespace(spawn_app=self._spawn)
        no: Any = None
        self.stream = BoundedWebSocketStream(no, config, no, group, True, no, no, self._send, 1)

    async def _spawn(self, *_: object) -> Any:
        return self._put

    async def _put(self, message: dict[str, Any]) -> None:
        self.told.append(message)

    async def _send(self, event: Any) -> None:
        self.sent.append(event)

    async def open(self, *headers: tuple[bytes, bytes], path: bytes = b"/socket/websocket") -> None:
        asked = [(b"host", b"x"), (b"sec-websocket-version", b"13"), *headers]
        await self.stream.handle(
            Request(
                stream_id=1, headers=asked, http_version="2", method="CONNECT", raw_path=path, state=STATE
            )
        )
        if self.told:
            await self.stream.app_send({"type": "websocket.accept", "subprotocol": None, "headers": []})
            self.told.clear()

    async def client(self, *data: bytes) -> None:
        for part in data:
            await self.stream.handle(Data(stream_id=1, data=part))

    def close_code(self) -> int:
        """The code of the close frame, after which the stream has ended."""
        *_, frame, end = self.sent
        assert isinstance(end, EndData)
        assert frame.data[0] == 0x88
        return int.from_bytes(frame.data[2:4], "big")


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=True)


@pytest.fixture
async def wire() -> Wire:
    made = Wire()
    await made.open((b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits"))
    return made


async def test_no_extension_is_agreed_to_and_a_compressed_frame_is_a_protocol_error(wire: Wire) -> None:
    [response] = wire.sent
    assert "extensions" not in str(response.headers)

    first, *rest = frame(BINARY, zlib.compress(bytes(1 << 20)))
    await wire.client(bytes([first | 0x40, *rest]))

    assert wire.close_code() == 1002
    assert wire.told == [{"type": "websocket.disconnect", "code": 1002}]


async def test_messages_come_whole(wire: Wire) -> None:
    await wire.client(frame(TEXT, b"ab", fin=False) + frame(CONT, b"c"), frame(BINARY, bytes(MAX_BYTES)))

    assert [(each["text"], each["bytes"]) for each in wire.told] == [("abc", None), (None, bytes(MAX_BYTES))]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_message_without_end_is_closed_with_1009_and_nothing_more_is_kept(
    wire: Wire, opcode: Opcode
) -> None:
    await wire.client(frame(opcode, b"a" * 600, fin=False), frame(CONT, b"a" * 600, fin=False))
    assert wire.close_code() == 1009
    sent = len(wire.sent)

    await wire.client(*100 * [frame(CONT, b"a" * 600, fin=False)], frame(PING), frame(CLOSE))

    assert (wire.stream.buffer.value, len(wire.sent)) == (None, sent)
    assert wire.told == [{"type": "websocket.disconnect", "code": 1009}]


async def test_one_frame_that_is_too_long_is_closed_before_it_is_there(wire: Wire) -> None:
    await wire.client(frame(BINARY, bytes(1 << 20))[: MAX_BYTES + 100])

    assert wire.close_code() == 1009


@pytest.mark.parametrize(
    ("data", "code"), [(frame(TEXT, b"\xff"), 1007), (b"\xc0\x80\0\0\0\0", 1002), (b"\x81\x01a", 1002)]
)
async def test_what_breaks_the_protocol_gets_its_close_frame(wire: Wire, data: bytes, code: int) -> None:
    await wire.client(data)

    assert wire.close_code() == code


async def test_the_application_may_finish_after_a_failure_and_the_stream_ends(wire: Wire) -> None:
    await wire.client(frame(TEXT, b"\xff"))
    sent = len(wire.sent)

    await wire.stream.app_send({"type": "websocket.send", "text": "late", "bytes": None})
    await wire.stream.app_send({"type": "websocket.close", "code": 1011, "reason": ""})
    assert len(wire.sent) == sent
    await wire.stream.app_send(None)

    assert isinstance(wire.sent[-1], StreamClosed)


async def test_the_client_s_goodbye_is_answered_and_told(wire: Wire) -> None:
    await wire.client(frame(CLOSE, b"\x03\xe9"), frame(TEXT, b"late"))

    assert wire.close_code() == 1001
    assert wire.told == [{"type": "websocket.disconnect", "code": 1001}]


@pytest.mark.parametrize("name", [b"sec-websocket-protocol", b"sec-websocket-extensions"])
async def test_odd_bytes_in_a_handshake_are_400(name: bytes) -> None:
    wire = Wire()

    await wire.open((name, b"caf\xe9"))
    await wire.client(b"whatever")

    response, end = wire.sent
    assert isinstance(response, Response)
    assert isinstance(end, EndBody)
    assert (response.status_code, wire.told) == (400, [])


async def test_odd_bytes_in_a_path_are_400() -> None:
    wire = Wire()

    await wire.open(path=b"/socket/\xff")

    assert [event.status_code for event in wire.sent if isinstance(event, Response)] == [400]
