"""A tiny HTTP server on the engine, which receives the callbacks of the server under test."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Final

from bench.errors import UsageError
from bench.load.engine import Engine
from bench.load.sockets import RECEIVE_BUFFER

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_LARGEST: Final = 1024 * 1024
_ANSWER: Final = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n{"acknowledged":true}'
)

# Given the method, the path and the body.
OnCall = Callable[[str, str, bytes], None]


class Receiver:
    """Answers every request that has a Content-Length with an acknowledgement.

    Args:
        engine: Runs it.
        port: On 127.0.0.1; 0 for any.
        on_call: Hears of every request before it is answered.

    Raises:
        UsageError: The port is taken.
    """

    def __init__(self, engine: Engine, port: int, on_call: OnCall) -> None:
        try:
            self._listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        except OSError as wrong:
            raise UsageError(f"cannot receive callbacks on port {port}: {wrong.strerror}") from wrong
        self._listener.settimeout(0)
        self._engine = engine
        self._on_call = on_call
        self._open: set[socket.socket] = set()
        engine.watch(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        connection.settimeout(0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.add(connection)
        waiting = b""

        def read() -> None:
            nonlocal waiting
            try:
                data = connection.recv(RECEIVE_BUFFER)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            waiting = self._take(connection, waiting + data) if data else b""
            if not data or len(waiting) > _LARGEST:
                self._close(connection)

        self._engine.watch(connection, read)

    def _take(self, connection: socket.socket, data: bytes) -> bytes:
        """Answer all whole requests in `data`, and return the rest."""
        while (end := data.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(data, 0, end)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(data) < size:
                break
            method, path, _ = data[: data.find(b"\r\n")].decode("latin-1").split(" ", 2)
            self._on_call(method, path, data[end + 4 : size])
            try:
                connection.send(_ANSWER)
            except OSError:
                pass  # The reader of the answer is gone, and its end is read next.
            data = data[size:]
        return data

    def _close(self, connection: socket.socket) -> None:
        self._engine.forget(connection)
        self._open.discard(connection)
        connection.close()

    def close(self) -> None:
        """Close the listener and every connection."""
        for connection in tuple(self._open):
            self._close(connection)
        self._engine.forget(self._listener)
        self._listener.close()
