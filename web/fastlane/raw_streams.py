"""Streams on raw sockets: one small object each, no task.

A stream is offered events by its audience and writes them straight to its
socket. When the socket takes only part, the stream keeps the rest of the
event under way and the newest event after it, and goes on when the poller
says that there is room again.
"""

from __future__ import annotations

import errno
import math
import socket
from typing import TYPE_CHECKING, ClassVar, Final

import trio

from actors.core import ConflatingMember
from web.fastlane.poller import ENDED, READABLE, WRITABLE
from web.handlers.compression import begin_gzip, deflater, shared_block
from web.handlers.sse import HEARTBEAT, LateEvent, sse, sse_since
from web.server.sockets import reset_on_close

if TYPE_CHECKING:
    from actors.core import Event
    from supervision import Life
    from web.fastlane.poller import Poller
    from web.handlers.http import Opening, OpenStream
    from web.handlers.streams import Streams

BEATS_PER_SLICE: Final = 64
DISCARD_BYTES: Final = 4096
DISCARDS_PER_TURN: Final = 8
LAST_CHUNK: Final = b"0\r\n\r\n"
NEVER: Final = 1 << 63


def chunk(data: bytes) -> bytes:
    """`data` as one chunk (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _as_it_is(data: bytes) -> bytes:
    return data


class RawStream(ConflatingMember):
    """A member of an audience, on a non-blocking socket of its own; its response comes in chunks.

    Attributes:
        blocked_since: When it last took a byte, while there are bytes waiting; else None.
    """

    _HEARTBEAT: ClassVar = chunk(HEARTBEAT)
    _LAST: ClassVar = LAST_CHUNK
    _framed = staticmethod(chunk)

    __slots__ = ("_beside", "_raw_streams", "_rest", "blocked_since", "is_open", "sock", "wanted")

    def __init__(self, sock: socket.socket, wanted: OpenStream, raw_streams: RawStreams) -> None:
        super().__init__()
        self.sock = sock
        self.wanted = wanted
        self.is_open = True
        self.blocked_since: float | None = None
        self._raw_streams = raw_streams
        self._rest: memoryview | None = None
        self._beside = b""

    def take(self, event: Event, seen: int) -> bool:
        """Write `event`, unless bytes wait for room in the socket."""
        if self.blocked_since is not None:
            return False
        self._write(self._raw_streams.encoded(event, seen))
        return True

    def note_overtaken(self) -> None:
        """Count it."""
        self._raw_streams.conflated += 1

    def tell(self, frames: bytes) -> None:
        """Write `frames`, or keep them in place of older ones."""
        if self.blocked_since is not None:
            self._beside = frames
        elif self.is_open:
            self._write(self._framed(frames))

    def begin(self, head: bytes, opening: Opening) -> None:
        """Write the response head and what the stream begins with."""
        self.seq = max(self.seq, opening.seq)
        self._write(head + self._first(opening))

    def _first(self, opening: Opening) -> bytes:
        return self._framed(opening.frames)

    def beat(self) -> None:
        """Write a heartbeat, unless there are events to write."""
        if self.blocked_since is None:
            self._write(self._HEARTBEAT)

    def _write(self, data: bytes | memoryview) -> None:
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lose(error.errno)
            return
        if sent != len(data) and self.is_open:
            self._rest = memoryview(data)[sent:]
            self.blocked_since = trio.current_time()
            self._raw_streams.note_blocked(self)

    @property
    def is_blocked(self) -> bool:
        """Whether bytes wait for room in the socket."""
        return self.blocked_since is not None

    def _flush(self) -> None:
        """There is room again: the rest of the event under way, then the newest."""
        rest, self._rest = self._rest, None
        self.blocked_since = None
        self._raw_streams.note_flowing(self)
        if rest is not None:
            self._write(rest)
        if not self.is_blocked and (event := self.catch_up()) is not None:
            self._write(self._framed(sse(event)))
        if not self.is_blocked and self._beside:
            frames, self._beside = self._beside, b""
            self.tell(frames)

    def close(self, reason: str, farewell: bytes = b"") -> None:
        """End the response properly, after `farewell`; cut it off where the client does not take it."""
        if self.is_open and self.blocked_since is None:
            self._write((self._framed(farewell) if farewell else b"") + self._LAST)
        self._end(reason)

    def abort(self) -> None:
        """End the connection now."""
        self._end("aborted")

    def cut_off(self) -> None:
        """End the connection of a client that takes nothing."""
        self._end("stalled")

    def ready(self, mask: int) -> None:
        """The kernel says that the socket can do more than before."""
        if mask & ENDED or (mask & READABLE and not self._discard()):
            self._lose(self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        elif mask & WRITABLE and self.blocked_since is not None:
            self._flush()

    def _discard(self) -> bool:
        """Drop what a client sends into its stream; false if it has closed its side."""
        try:
            for _ in range(DISCARDS_PER_TURN):
                got = self.sock.recv(DISCARD_BYTES)
                if len(got) < DISCARD_BYTES:
                    return bool(got)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._raw_streams.again(self)
        return True

    def _lose(self, number: int | None) -> None:
        """The client is gone, or the kernel has given up on it before we did: TCP_USER_TIMEOUT."""
        self._end("stalled" if number == errno.ETIMEDOUT else "client_gone")

    def _end(self, reason: str) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self.seq = NEVER  # an audience in the middle of a broadcast may still offer
        self._raw_streams.remove(self, reason)
        if self.blocked_since is not None:
            reset_on_close(self.sock)
        self.sock.close()
        self._rest = self._waiting = None
        self._beside = b""


class UnchunkedStream(RawStream):
    """A stream for HTTP/1.0, which knows no chunks: its response ends with the connection."""

    _HEARTBEAT: ClassVar = HEARTBEAT
    _LAST: ClassVar = b""
    _framed = staticmethod(_as_it_is)

    __slots__ = ()

    def take(self, event: Event, seen: int) -> bool:
        """As `RawStream.take`."""
        if self.blocked_since is not None:
            return False
        self._write(self._framed(sse_since(event, seen)))
        return True


def _block_chunk(data: bytes) -> bytes:
    return chunk(shared_block(data))


class CompressedStream(RawStream):
    """A stream as gzip, in chunks: its events are deflated once for all such streams."""

    _HEARTBEAT: ClassVar = _block_chunk(HEARTBEAT)
    _framed = staticmethod(_block_chunk)
    _chunked = staticmethod(chunk)

    __slots__ = ()

    def take(self, event: Event, seen: int) -> bool:
        """As `RawStream.take`."""
        if self.blocked_since is not None:
            return False
        text = sse_since(event, seen)
        if isinstance(event, LateEvent):  # no other stream is sent this text
            self._write(self._chunked(deflater.block(text)))
        else:
            self._write(self._framed(text))
        return True

    def _first(self, opening: Opening) -> bytes:
        return self._chunked(begin_gzip(opening.parts))


class UnchunkedCompressedStream(CompressedStream):
    """As gzip for HTTP/1.0."""

    _HEARTBEAT: ClassVar = shared_block(HEARTBEAT)
    _LAST: ClassVar = b""
    _framed = staticmethod(shared_block)
    _chunked = staticmethod(_as_it_is)

    __slots__ = ()


def kind_of(wanted: OpenStream, *, is_chunked: bool) -> type[RawStream]:
    """What serves a stream."""
    if wanted.is_compressed:
        return CompressedStream if is_chunked else UnchunkedCompressedStream
    return RawStream if is_chunked else UnchunkedStream


class RawStreams:
    """All raw streams of this process.

    Args:
        poller: Says when sockets change.
        streams: Who may open one; hears how each ends.
        stall_s: Seconds without a byte taken, while bytes wait, after which a stream is cut off.
        heartbeat_s: No stream is left without a byte for longer.

    Attributes:
        conflated: Events that were overtaken by a newer one before they could be written.
    """

    def __init__(self, poller: Poller, streams: Streams, *, stall_s: float, heartbeat_s: float) -> None:
        self._poller = poller
        self._all = streams
        self._stall_s = stall_s
        self._heartbeat_s = heartbeat_s
        self._streams: set[RawStream] = set()
        self._blocked: set[RawStream] = set()
        self._last: Event | None = None
        self._last_chunk = b""
        self.conflated = 0

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, stream: RawStream) -> None:
        """Watch over `stream`, whose socket the poller knows already, until it ends."""
        self._streams.add(stream)
        self._poller.replace(stream.sock.fileno(), stream)

    def remove(self, stream: RawStream, reason: str) -> None:
        """`stream` ends for `reason`; its socket is still open."""
        self._streams.discard(stream)
        self._blocked.discard(stream)
        self._poller.forget(stream.sock.fileno())
        self._all.leave(stream.wanted, stream, reason)

    def again(self, stream: RawStream) -> None:
        """`stream` has more to read, after others had their turn."""
        self._poller.again(stream.sock.fileno(), READABLE)

    def note_blocked(self, stream: RawStream) -> None:
        """`stream` waits for room in its socket."""
        self._blocked.add(stream)

    def note_flowing(self, stream: RawStream) -> None:
        """`stream` waits no longer."""
        self._blocked.discard(stream)

    def encoded(self, event: Event, seen: int) -> bytes:
        """What a stream that has seen `seen` is to get as a chunk; made once for all that get the same."""
        if event.earlier and event.earlier[0].seq <= seen:
            return chunk(sse_since(event, seen))
        if event is not self._last:
            self._last = event
            self._last_chunk = chunk(sse_since(event, seen))
        return self._last_chunk

    async def run(self, life: Life) -> None:
        """Cut off streams that stall, keep the others alive; for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cut_off_stalled)
            nursery.start_soon(self._beat)
            life.started()

    async def _cut_off_stalled(self) -> None:
        while True:
            await trio.sleep(self._stall_s / 4)
            cutoff = trio.current_time() - self._stall_s
            for stream in tuple(self._blocked):
                if stream.blocked_since is not None and stream.blocked_since < cutoff:
                    stream.cut_off()

    async def _beat(self) -> None:
        """One round of heartbeats after the other, evenly spread.

        A round takes half the promised time, since a stream that opens just
        after its place in one round waits for the next.
        """
        while True:
            streams = tuple(self._streams)
            slices = max(1, math.ceil(len(streams) / BEATS_PER_SLICE))
            for number in range(slices):
                await trio.sleep(self._heartbeat_s / 2 / slices)
                for stream in streams[number * BEATS_PER_SLICE : (number + 1) * BEATS_PER_SLICE]:
                    stream.beat()
