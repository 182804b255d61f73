"""Upper bound for CPython: a loop of `socket.send` and next to nothing else.

Enough of the room API to be measured with the same scenarios: a stream gets a fixed
head and joins its room's list, a write's body is wrapped with constant bytes and sent to
the list, one `socket.send` each. No parsing beyond the request line, no JSON, no
versions, no backpressure. Not a usable server.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from typing import Final

HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\r\nretry: 2000\n\n"
)
EVENT: Final = b'event: state\nid: bare-0000001\ndata: {"room_id":"bare","version":1,"updated_at":"-",%b}\n\n'
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
MISSING: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class BareServer:
    """The connections, and the listeners of each room."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.settimeout(0)
        self._epoll = select.epoll()
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._sockets: dict[int, socket.socket] = {}
        self._listening: dict[int, bytes] = {}
        self._rooms: dict[bytes, dict[int, socket.socket]] = {}
        self._records: dict[bytes, bytes] = {}

    def run(self) -> None:
        """Serve until the process is killed."""
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._listener.fileno():
                    self._accept()
                else:
                    self._read(fd)

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except BlockingIOError:
                return
            accepted.settimeout(0)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[accepted.fileno()] = accepted
            self._epoll.register(accepted.fileno(), select.EPOLLIN)

    def _read(self, fd: int) -> None:
        connection = self._sockets[fd]
        try:
            data = connection.recv(65_536)
        except OSError:
            data = b""
        if not data:
            self._close(fd)
            return
        method, path, _ = data.split(b" ", 2)
        room, _, wants_stream = path.rpartition(b"/api/rooms/")[2].partition(b"/")
        if wants_stream:
            connection.send(HEAD)
            self._listening[fd] = room
            self._rooms.setdefault(room, {})[fd] = connection
        elif method == b"PUT":
            self._write(connection, room, data)
        else:
            record = self._records.get(room)
            connection.send(MISSING if record is None else ANSWER % (len(record), record))

    def _write(self, connection: socket.socket, room: bytes, data: bytes) -> None:
        inside = data[data.index(b"\r\n\r\n{") + 5 : -1]
        record = b"{%b}" % inside
        self._records[room] = record
        connection.send(ANSWER % (len(record), record))
        event = EVENT % inside
        for member in self._rooms.get(room, {}).values():
            try:
                member.send(event)
            except OSError:
                pass

    def _close(self, fd: int) -> None:
        room = self._listening.pop(fd, None)
        if room is not None:
            del self._rooms[room][fd]
        self._epoll.unregister(fd)
        self._sockets.pop(fd).close()


if __name__ == "__main__":
    BareServer(int(os.environ.get("PORT") or sys.argv[1])).run()
