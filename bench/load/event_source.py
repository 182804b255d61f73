"""A client of one room's stream that comes back as a browser's `EventSource` does.

It asks in HTTP/1.0, so that no server and no proxy cuts the body into chunks: what comes are the events.
"""

from __future__ import annotations

import socket
from enum import Enum
from typing import Final, Protocol

from bench.errors import TargetError
from bench.load.engine import Engine
from bench.load.sockets import RECEIVE_BUFFER, Address, begin_connect
from bench.load.wire import read_head

# What browsers wait before they try again, unless `retry:` says otherwise.
DEFAULT_RETRY_MS: Final = 3000
_OK: Final = 200


class Lost(Enum):
    """How a connection came to nothing, or broke."""

    REFUSED = "could not be made"
    BROKEN = "was reset"
    UNANSWERED = "was closed unanswered"


class StreamObserver(Protocol):
    """Hears what happens to an `EventSource`. No method may block."""

    def on_open(self, source: EventSource) -> None:
        """The stream was answered with 200."""

    def on_event(self, source: EventSource, name: bytes, event_id: bytes) -> None:
        """An event came; `event_id` is empty if it has none."""

    def on_end(self, source: EventSource) -> None:
        """The connection ended; it is made again after `retry_ms`."""

    def on_lost(self, source: EventSource, how: Lost) -> None:
        """The connection ended in another way; it too is made again after `retry_ms`."""

    def on_refusal(self, source: EventSource, status: int) -> None:
        """It was answered with another status: an `EventSource` then never tries again."""


class EventSource:
    """One stream, opened again whenever it ends, with its last event id.

    Args:
        engine: Runs it.
        address: The server, and where to connect from.
        room: The room's id.
        nth: Kept for the owner: its place among its siblings.
        observer: Hears what happens.

    Attributes:
        last_id: Id of the newest event.
        retry_ms: What the server has told it to wait before it comes back.
    """

    __slots__ = (
        "_address",
        "_begun",
        "_engine",
        "_observer",
        "_rest",
        "_room",
        "_socket",
        "last_id",
        "nth",
        "retry_ms",
    )

    def __init__(
        self, engine: Engine, address: Address, room: bytes, nth: int, observer: StreamObserver
    ) -> None:
        self._engine = engine
        self._address = address
        self._room = room
        self._observer = observer
        self._socket: socket.socket | None = None
        self._rest = b""
        self._begun = False
        self.nth = nth
        self.last_id = b""
        self.retry_ms = DEFAULT_RETRY_MS

    def open(self) -> None:
        """Connect, and from now on come back after every end until `close`."""
        self._rest, self._begun = b"", False
        try:
            opened = self._socket = begin_connect(self._address, self.nth)
        except TargetError:
            self._lose(Lost.REFUSED)
            return
        self._engine.watch(opened, self._on_connected, writable=True)

    def close(self) -> None:
        """Close the connection; an `open` that is due is not kept from happening."""
        if self._socket is not None:
            self._engine.forget(self._socket)
            self._socket.close()
            self._socket = None

    def _on_connected(self) -> None:
        connection = self._connection
        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._lose(Lost.REFUSED)
            return
        resume = b"Last-Event-ID: %b\r\n" % self.last_id if self.last_id else b""
        request = (
            b"GET %b/api/rooms/%b/stream HTTP/1.0\r\nHost: %b\r\nAccept: text/event-stream\r\n%b\r\n"
            % (
                self._address.prefix.encode(),
                self._room,
                self._address.authority.encode(),
                resume,
            )
        )
        try:
            connection.sendall(request)
        except OSError:
            self._lose(Lost.BROKEN)
            return
        self._engine.watch(connection, self._on_readable)

    @property
    def _connection(self) -> socket.socket:
        if self._socket is None:
            raise TargetError("a closed stream was used")
        return self._socket

    def _on_readable(self) -> None:
        try:
            data = self._connection.recv(RECEIVE_BUFFER)
        except BlockingIOError:
            return
        except OSError:
            self._lose(Lost.BROKEN)
            return
        if data:
            self._take(self._rest + data)
        elif self._begun:
            self._come_back()
            self._observer.on_end(self)
        else:
            self._lose(Lost.UNANSWERED)

    def _take(self, data: bytes) -> None:
        if not self._begun:
            head = read_head(data)
            if head is None:
                self._rest = data
                return
            if head.status != _OK:
                self.close()
                self._observer.on_refusal(self, head.status)
                return
            self._begun = True
            self._observer.on_open(self)
            data = data[head.size :]
        *events, self._rest = data.split(b"\n\n")
        for event in events:
            self._read(event)

    def _read(self, event: bytes) -> None:
        """Read one event's lines; the HTML standard, section 9.2.6."""
        fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if b": " in line[1:])
        if b"retry" in fields:
            self.retry_ms = int(fields[b"retry"])
        if b"id" in fields:
            self.last_id = fields[b"id"]
        if b"data" in fields:
            self._observer.on_event(self, fields.get(b"event", b"message"), fields.get(b"id", b""))

    def _lose(self, how: Lost) -> None:
        self._come_back()
        self._observer.on_lost(self, how)

    def _come_back(self) -> None:
        self.close()
        self._engine.at(self._engine.now_ns + self.retry_ms * 1_000_000, self.open)
