"""HTTP client on one keep-alive connection, at most one request in flight."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Final

from bench.errors import TargetError
from bench.load.engine import Engine
from bench.load.sockets import NOT_YET, RECEIVE_BUFFER, Address, connect
from bench.load.wire import answer_ends, read_head

BUFFER: Final = bytearray(RECEIVE_BUFFER)
# No answer of the room API is larger; keeps a broken server from filling our memory.
LARGEST_ANSWER: Final = 8 * 1024 * 1024

OnAnswer = Callable[["Caller", int], None]


class Caller:
    """Sends one request at a time and reports each response's status.

    An answer of the same length and status line as the one before is taken as complete
    without parsing; any other is parsed.

    Args:
        engine: Runs the callbacks.
        address: The server.
        on_answer: Called with this caller and the status; 0 when the connection broke
            with a request under way (the caller has connected again by then).

    Attributes:
        intended_ns: When the request under way should have been sent.
        sent_ns: When it was.
        busy: A request is under way.
        tag: Whatever the owner wants to remember with the request.
        reconnects: Connections the server closed, between requests or under them.
    """

    __slots__ = (
        "_address",
        "_engine",
        "_expected",
        "_on_answer",
        "_partial",
        "_proof",
        "_rest",
        "_socket",
        "_whole",
        "busy",
        "intended_ns",
        "reconnects",
        "sent_ns",
        "tag",
    )

    def __init__(self, engine: Engine, address: Address, on_answer: OnAnswer) -> None:
        self._engine = engine
        self._address = address
        self._on_answer = on_answer
        self._expected = -1
        self._proof = b""
        self._partial = b""
        self._rest = b""
        self._whole = b""
        self.busy = False
        self.intended_ns = self.sent_ns = 0
        self.tag = 0
        self.reconnects = 0
        self._socket = self._open()

    @property
    def answer(self) -> bytes:
        """Bytes of the response being reported, head included; valid only while `on_answer` runs."""
        return self._whole or bytes(BUFFER[: self._expected])

    def _open(self) -> socket.socket:
        opened = connect(self._address)
        self._engine.watch(opened, self._on_readable)
        return opened

    def send(self, request: bytes, *, intended_ns: int = 0, tag: int = 0) -> None:
        """Send `request` now; `intended_ns` is when a schedule wanted it sent."""
        self.busy = True
        self.tag = tag
        self.sent_ns = time.perf_counter_ns()
        self.intended_ns = intended_ns or self.sent_ns
        self._push(request)

    def _push(self, data: bytes) -> None:
        try:
            sent = self._socket.send(data)
        except NOT_YET:
            sent = 0
        except OSError:
            self._broke()
            return
        if sent < len(data):
            self._rest = data[sent:]
            self._engine.watch(self._socket, self._on_writable, writable=True)

    def _on_writable(self) -> None:
        rest, self._rest = self._rest, b""
        self._engine.watch(self._socket, self._on_readable)
        self._push(rest)

    def _on_readable(self) -> None:
        try:
            count = self._socket.recv_into(BUFFER)
        except NOT_YET:
            return
        except OSError:
            count = 0
        if not count:
            self._broke()
        elif count == self._expected and not self._partial and BUFFER.startswith(self._proof):
            self.busy = False
            self._on_answer(self, int(self._proof[9:12]))
        else:
            self._read_slowly(bytes(BUFFER[:count]))

    def _read_slowly(self, data: bytes) -> None:
        data = self._partial + data
        try:
            head = read_head(data)
        except ValueError as wrong:
            raise TargetError(f"{self._address.authority}: {wrong}") from None
        if head is None or not answer_ends(head, data):
            self._keep(data)
            return
        self._partial = b""
        # Up to the first line end: version and status, the same for every answer that went well.
        self._proof = data[: data.find(b"\r\n")]
        self._expected = len(data) if head.total == len(data) and not head.closes else -1
        self.busy = False
        if head.closes:
            self._broke()
        self._whole = data
        self._on_answer(self, head.status)
        self._whole = b""

    def _keep(self, data: bytes) -> None:
        if len(data) > LARGEST_ANSWER:
            raise TargetError(f"{self._address.authority}: an answer without an end ({len(data)} bytes)")
        self._partial = data

    def _broke(self) -> None:
        self.close()
        self._partial = self._rest = b""
        self.reconnects += 1
        self._socket = self._open()
        if self.busy:
            self.busy = False
            self._on_answer(self, 0)

    def close(self) -> None:
        """Close the connection; the request in flight is dropped."""
        self._engine.forget(self._socket)
        self._socket.close()
