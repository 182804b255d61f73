"""A Phoenix client that joins one topic over a WebSocket (RFC 6455, section 5); text frames only."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from bench.errors import TargetError
from bench.load.engine import Engine
from bench.load.sockets import NOT_YET
from bench.load.stream import BUFFER, Stream
from bench.load.wire import DIGITS, MARK, MARKS, read_head

SWITCHING: Final = 101
_SHORT: Final = 126
_LONG: Final = 127
_TEXT: Final = 0x81
_MASKED: Final = 0x80
_NO_MASK: Final = b"\0\0\0\0"
# Any sixteen bytes in base64 will do.
_KEY: Final = b"Z3JlZW5yb29tIGJlbmNoIQ=="

OnFrames = Callable[["JoinedSocket", int], None]


def handshake(authority: str, *, token: str = "", headers: bytes = b"") -> bytes:
    """Return the request for a socket that speaks version 2 of the protocol; its params have the token."""
    params = b"vsn=2.0.0" + (f"&token={quote(token)}".encode() if token else b"")
    return (
        b"GET /socket/websocket?%b HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n%b\r\n"
        % (params, authority.encode(), _KEY, headers)
    )


def message(*parts: object) -> bytes:
    """Return a text frame as a client sends it.

    Its mask is zero: nothing to compute here, and the same work for the server.
    """
    text = json.dumps(parts, separators=(",", ":")).encode()
    if len(text) < _SHORT:
        head = bytes((_TEXT, _MASKED | len(text)))
    else:
        head = bytes((_TEXT, _MASKED | _SHORT)) + len(text).to_bytes(2)
    return head + _NO_MASK + text


def split(data: bytes) -> tuple[int, int]:
    """Return how many whole frames `data` begins with, and where the first that is not whole begins."""
    count = at = 0
    while (end := _frame_ends(data, at)) <= len(data):
        count, at = count + 1, end
    return count, at


def _frame_ends(data: bytes, at: int) -> int:
    """Return where a frame ends; past the end of `data` if that cannot be told."""
    if len(data) < at + 2:
        return len(data) + 1
    length, body = data[at + 1] & 0x7F, at + 2
    if length == _SHORT:
        length, body = int.from_bytes(data[at + 2 : at + 4]), at + 4
    elif length == _LONG:
        length, body = int.from_bytes(data[at + 2 : at + 10]), at + 10
    return body + length if len(data) >= body else len(data) + 1


class JoinedSocket(Stream):
    """A socket that joined a topic; pushes are recognised by their sequence marks.

    Args:
        engine, connection, nth: As a stream's; the handshake has been sent.
        join: The frame that joins the topic.
    """

    __slots__ = ("_join", "_on_frames")

    def __init__(self, engine: Engine, connection: socket.socket, nth: int, join: bytes) -> None:
        super().__init__(engine, connection, nth)
        self._join = join
        self._on_frames: OnFrames = _ignore

    def ask(self, frame: bytes) -> None:
        """Send one frame.

        Raises:
            TargetError: The server does not take it.
        """
        try:
            sent = self._socket.send(frame)
        except OSError as wrong:
            raise TargetError(f"a socket broke: {wrong}") from wrong
        if sent != len(frame):
            raise TargetError("a socket does not take a frame")

    def count_frames(self, on_frames: OnFrames) -> None:
        """From now on report how many frames have come, whatever is in them."""
        self._on_frames = on_frames
        self._engine.watch(self._socket, self._on_answers)

    def _on_head(self) -> None:
        data = self._carry + self._receive()
        head = read_head(data)
        if head is None:
            self._carry = data
            return
        if head.status != SWITCHING:
            raise TargetError(f"a socket was refused with {head.status}")
        self._carry = data[head.size :]
        self._engine.watch(self._socket, self._on_join)
        self.ask(self._join)

    def _on_join(self) -> None:
        data = self._carry + self._receive()
        count, at = split(data)
        self._carry = data[at:]
        if count:
            if b'"phx_reply"' not in data[:at] or b'"ok"' not in data[:at]:
                raise TargetError(f"a join was answered with {data[:80]!r}")
            self._engine.watch(self._socket, self._on_bytes)
            self._on_open(self)

    def _on_bytes(self) -> None:
        count = self._read()
        if count == self._size and not self._carry and BUFFER.startswith(MARK, self._at):
            at = self._at + len(MARK)
            self._on_events(self, int(BUFFER[at : at + DIGITS]), 1)
        elif count:
            self._take(bytes(BUFFER[:count]))

    def _take(self, data: bytes) -> None:
        data = self._carry + data
        count, at = split(data)
        self._carry = data[at:]
        numbers = MARKS.findall(data, 0, at)
        if count == 1 and at == len(data) and numbers:
            self._size, self._at = at, data.find(MARK)
        if numbers:
            self._on_events(self, int(numbers[-1]), len(numbers))

    def _on_answers(self) -> None:
        count = self._read()
        if count:
            data = self._carry + bytes(BUFFER[:count])
            frames, at = split(data)
            self._carry = data[at:]
            self._on_frames(self, frames)

    def _read(self) -> int:
        try:
            count = self._recv_into(BUFFER)
        except NOT_YET:
            return 0
        except OSError:
            count = 0
        if not count:
            self._ended()
        return count


def _ignore(_socket: JoinedSocket, _count: int) -> None:
    """Default handler of frames: ignore them."""
