"""Client of an event stream that finds sequence marks in the received bytes."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from bench.errors import TargetError
from bench.load.engine import Engine
from bench.load.sockets import NOT_YET, RECEIVE_BUFFER
from bench.load.wire import DIGITS, MARK, MARK_LENGTH, MARKS, read_head

BUFFER: Final = bytearray(RECEIVE_BUFFER)
_LINE_END: Final = 10
_BEFORE_DIGITS: Final = len(MARK)

OnEvents = Callable[["Stream", int, int], None]
OnEnd = Callable[["Stream"], None]


class Stream:
    """One open event stream.

    Args:
        engine: Runs the callbacks.
        connection: Connected, non-blocking, the request already sent.
        on_events: Called with this stream, the number of the newest write seen in
            these bytes, and how many marks they held.
        on_end: Called when the server ended the stream.

    Attributes:
        seen: Kept for the owner: the newest write that reached this stream.
        nth: Kept for the owner: the stream's place among its siblings.
    """

    __slots__ = (
        "_at",
        "_carry",
        "_engine",
        "_on_end",
        "_on_events",
        "_on_open",
        "_recv_into",
        "_size",
        "_socket",
        "nth",
        "seen",
    )

    def __init__(self, engine: Engine, connection: socket.socket, nth: int) -> None:
        self._engine = engine
        self._socket = connection
        self._recv_into = connection.recv_into
        self._carry = b""
        self._size = self._at = 0
        self._on_events: OnEvents = _ignore_events
        self._on_end: OnEnd = _ignore_end
        self._on_open: OnEnd = _ignore_end
        self.nth = nth
        self.seen = -1

    def open(self, on_open: OnEnd) -> None:
        """Wait for the answer's head, then call `on_open`.

        Raises:
            TargetError: Out of the engine's `run`, when the stream is refused.
        """
        self._on_open = on_open
        self._engine.watch(self._socket, self._on_head)

    def listen(self, on_events: OnEvents, on_end: OnEnd) -> None:
        """From now on report events and the end."""
        self._on_events = on_events
        self._on_end = on_end

    def _on_head(self) -> None:
        data = self._carry + self._receive()
        try:
            head = read_head(data)
        except ValueError as wrong:
            raise TargetError(str(wrong)) from None
        if head is None:
            self._carry = data
            return
        if head.status != 200:
            raise TargetError(f"a stream was refused with {head.status}: {data[head.size :][:80]!r}")
        self._carry = b""
        self._engine.watch(self._socket, self._on_bytes)
        self._take(data[head.size :])
        self._on_open(self)

    def _receive(self) -> bytes:
        try:
            data = self._socket.recv(RECEIVE_BUFFER)
        except NOT_YET:
            return b""
        except OSError as wrong:
            raise TargetError(f"a stream broke before it was answered: {wrong}") from wrong
        if not data:
            raise TargetError("a stream was closed before it was answered")
        return data

    def _on_bytes(self) -> None:
        try:
            count = self._recv_into(BUFFER)
        except NOT_YET:
            return
        except OSError:
            count = 0
        if not count:
            self._ended()
            return
        # Bytes that end a line cannot end inside a mark: the quick ways are safe.
        if BUFFER[count - 1] != _LINE_END or self._carry:
            self._take(bytes(BUFFER[:count]))
        elif count == self._size and BUFFER.startswith(MARK, self._at):
            at = self._at + _BEFORE_DIGITS
            self._on_events(self, int(BUFFER[at : at + DIGITS]), 1)
        else:
            self._take_lines(count)

    def _take_lines(self, count: int) -> None:
        """Find the marks in the buffer; remember the framing of a single event."""
        marks = BUFFER.count(MARK, 0, count)
        if not marks:
            return
        at = BUFFER.rfind(MARK, 0, count)
        if marks == 1:
            self._size, self._at = count, at
        at += _BEFORE_DIGITS
        self._on_events(self, int(BUFFER[at : at + DIGITS]), marks)

    def _take(self, data: bytes) -> None:
        data = self._carry + data
        numbers = MARKS.findall(data)
        # One byte short of a mark: a split mark is found next time, a whole one never twice.
        self._carry = b"" if data.endswith(b"\n") else data[1 - MARK_LENGTH :]
        if numbers:
            self._on_events(self, int(numbers[-1]), len(numbers))

    def _ended(self) -> None:
        self.close()
        self._on_end(self)

    def close(self) -> None:
        """Close the connection from this side; harmless when it is closed."""
        self._engine.forget(self._socket)
        self._socket.close()


def _ignore_events(_stream: Stream, _newest: int, _count: int) -> None:
    """Default handler of events: ignore them."""


def _ignore_end(_stream: Stream) -> None:
    """Default handler of the end: ignore it."""
