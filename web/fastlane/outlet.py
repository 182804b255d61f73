"""Streams on raw sockets: one small object each, and one task for all of them.

A stream is offered events by its audience and writes them straight to its
socket. When the socket takes only part, the stream keeps the rest of the
event under way and the newest event after it, and the outlet finishes the
job once the kernel has room: it waits on one epoll for every blocked stream,
and for every stream whose client has hung up.
"""

from __future__ import annotations

import math
import select
import socket
import struct
from typing import TYPE_CHECKING, Final

import trio

from web.handlers.streams import HEARTBEAT

if TYPE_CHECKING:
    from actors.core import Event
    from supervision import Life
    from web.handlers.http import Opening, OpenStream
    from web.handlers.streams import Streams

# Reset instead of FIN: what is unsent is not worth waiting for.
LINGER_NOTHING: Final = struct.pack("ii", 1, 0)
_IDLE: Final = select.EPOLLIN | select.EPOLLRDHUP
_BLOCKED: Final = _IDLE | select.EPOLLOUT
_GONE: Final = select.EPOLLERR | select.EPOLLHUP | select.EPOLLRDHUP
# Events taken from epoll before other tasks have their turn.
EVENTS_PER_TURN: Final = 256
BEATS_PER_SLICE: Final = 64
LAST_CHUNK: Final = b"0\r\n\r\n"
NEVER: Final = 1 << 63


def chunk(data: bytes) -> bytes:
    """`data` as one chunk (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


HEARTBEAT_CHUNK: Final = chunk(HEARTBEAT)


class RawStream:
    """A member of an audience, on a non-blocking socket of its own.

    Attributes:
        seq: Number of the newest event it has taken.
        blocked_since: When it last took a byte, while there are bytes waiting; else None.
    """

    __slots__ = ("_newest", "_outlet", "_rest", "blocked_since", "is_open", "seq", "sock", "wanted")

    def __init__(self, sock: socket.socket, wanted: OpenStream, outlet: Outlet) -> None:
        self.sock = sock
        self.wanted = wanted
        self.seq = 0
        self.is_open = True
        self.blocked_since: float | None = None
        self._outlet = outlet
        self._rest: memoryview | None = None
        self._newest: Event | None = None

    def offer(self, event: Event) -> None:
        """Write `event` now, or keep it as the newest; skip it unless it is newer than the last."""
        if event.seq <= self.seq:
            return
        self.seq = event.seq
        if self.blocked_since is None:
            self._write(self._outlet.encoded(event))
        else:
            self._outlet.conflated += self._newest is not None
            self._newest = event

    def begin(self, head: bytes, opening: Opening) -> None:
        """Write the response head and what the stream begins with."""
        self.seq = max(self.seq, opening.seq)
        self._write(head + chunk(opening.frames))

    def beat(self) -> None:
        """Write a heartbeat, unless there are events to write."""
        if self.blocked_since is None:
            self._write(HEARTBEAT_CHUNK)

    def _write(self, data: bytes) -> None:
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end("gone")
            return
        if sent != len(data) and self.is_open:
            self._rest = memoryview(data)[sent:]
            self.blocked_since = trio.current_time()
            self._outlet.watch(self, blocked=True)

    def flush(self) -> None:
        """The socket has room again: the rest of the event under way, then the newest."""
        if self._rest is None:
            return
        try:
            sent = self.sock.send(self._rest)
        except BlockingIOError:
            return
        except OSError:
            self._end("gone")
            return
        if sent != len(self._rest):
            self._rest = self._rest[sent:]
            self.blocked_since = trio.current_time()
            return
        self._rest = self.blocked_since = None
        event, self._newest = self._newest, None
        if event is not None:
            self._write(self._outlet.encoded(event))
        if self.blocked_since is None:
            self._outlet.watch(self, blocked=False)

    def close(self, reason: str, farewell: bytes = b"") -> None:
        """End the response properly, after `farewell`; cut it off where the client does not take it."""
        if self.is_open and self.blocked_since is None:
            self._write(chunk(farewell) + LAST_CHUNK if farewell else LAST_CHUNK)
        self._end(reason)

    def abort(self) -> None:
        """End the connection now."""
        self._end("aborted")

    def hang_up(self) -> None:
        """The client has left."""
        self._end("gone")

    def cut_off(self) -> None:
        """The client takes nothing."""
        self._end("stalled")

    def _end(self, reason: str) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self.seq = NEVER  # an audience in the middle of a broadcast may still offer
        self._outlet.remove(self, reason)
        if self.blocked_since is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOTHING)
        self.sock.close()
        self._rest = self._newest = None


class Outlet:
    """All raw streams of this process.

    Args:
        streams: Who may open one; hears how each ends.
        stall_s: Seconds without a byte taken, while bytes wait, after which a stream is cut off.
        heartbeat_s: No stream is left without a byte for longer.

    Attributes:
        conflated: Events that were overtaken by a newer one before they could be written.
    """

    def __init__(self, streams: Streams, *, stall_s: float, heartbeat_s: float) -> None:
        self._all = streams
        self._stall_s = stall_s
        self._heartbeat_s = heartbeat_s
        self._epoll = select.epoll()
        self._streams: dict[int, RawStream] = {}
        self._blocked: dict[int, RawStream] = {}
        self._last: Event | None = None
        self._last_chunk = b""
        self.conflated = 0

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, stream: RawStream) -> None:
        """Watch over `stream` until it ends."""
        fd = stream.sock.fileno()
        self._streams[fd] = stream
        self._epoll.register(fd, _IDLE)

    def remove(self, stream: RawStream, reason: str) -> None:
        """`stream` ends for `reason`; its socket is still open."""
        fd = stream.sock.fileno()
        if self._streams.pop(fd, None) is not None:
            self._blocked.pop(fd, None)
            self._epoll.unregister(fd)
        self._all.leave(stream.wanted, stream, reason)

    def watch(self, stream: RawStream, *, blocked: bool) -> None:
        """Wait for room in the socket too, or no longer."""
        fd = stream.sock.fileno()
        if fd not in self._streams:
            return
        self._epoll.modify(fd, _BLOCKED if blocked else _IDLE)
        if blocked:
            self._blocked[fd] = stream
        else:
            self._blocked.pop(fd, None)

    def encoded(self, event: Event) -> bytes:
        """`event` as a chunk; made once for all streams that get it one after the other."""
        if event is not self._last:
            self._last = event
            self._last_chunk = chunk(event.frame)
        return self._last_chunk

    async def run(self, life: Life) -> None:
        """Write what can be written, end what has hung up or stalled, keep the rest alive; for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cut_off_stalled)
            nursery.start_soon(self._beat)
            life.started()
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                for fd, mask in self._epoll.poll(0, EVENTS_PER_TURN):
                    stream = self._streams.get(fd)
                    if stream is not None:
                        _serve(stream, mask)

    async def _cut_off_stalled(self) -> None:
        while True:
            await trio.sleep(self._stall_s / 4)
            cutoff = trio.current_time() - self._stall_s
            for stream in tuple(self._blocked.values()):
                if stream.blocked_since is not None and stream.blocked_since < cutoff:
                    stream.cut_off()

    async def _beat(self) -> None:
        """One round of heartbeats after the other, evenly spread.

        A round takes half the promised time, since a stream that opens just
        after its place in one round waits for the next.
        """
        while True:
            streams = tuple(self._streams.values())
            slices = max(1, math.ceil(len(streams) / BEATS_PER_SLICE))
            for number in range(slices):
                await trio.sleep(self._heartbeat_s / 2 / slices)
                for stream in streams[number * BEATS_PER_SLICE : (number + 1) * BEATS_PER_SLICE]:
                    stream.beat()


def _serve(stream: RawStream, mask: int) -> None:
    if mask & _GONE or (mask & select.EPOLLIN and not _still_there(stream.sock)):
        stream.hang_up()
    elif mask & select.EPOLLOUT:
        stream.flush()


def _still_there(sock: socket.socket) -> bool:
    """Drop what a client sends into its stream; false if it has closed its side."""
    try:
        return sock.recv(4096) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
