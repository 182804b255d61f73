"""What the streams of an HTTP/2 connection have to send, and in which order.

Hypercorn's own send buffer says "go on" whenever it is asked for bytes, also
when flow control lets none out: a client that gives no credit makes the server
keep every event. `BoundedBuffer` says so only when little is left.
"""

from __future__ import annotations

from typing import Final

from hypercorn.protocol import h2
from hypercorn.protocol.h2 import BufferCompleteError, StreamBuffer
from priority.priority import DeadlockError, MissingStreamError

# A frame. The application sends no more than that at a time either.
BUFFER_HIGH_WATER: Final = 16 * 1024
BUFFER_LOW_WATER: Final = BUFFER_HIGH_WATER // 2


class BoundedBuffer(StreamBuffer):
    """What one stream has still to send: at most the high-water mark and one message."""

    async def push(self, data: bytes) -> None:
        """Add `data`; wait while there is much.

        Raises:
            BufferCompleteError: The stream has ended.
        """
        if self._complete:
            raise BufferCompleteError
        self.buffer.extend(data)
        await self._is_empty.clear()
        if len(self.buffer) >= BUFFER_HIGH_WATER:
            await self._paused.clear()
            await self._paused.wait()

    async def pop(self, max_length: int) -> bytes:
        """Take at most `max_length` bytes, which is 0 when flow control lets none out."""
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if len(self.buffer) < BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


class RoundRobin:
    """Whose turn it is to send, with the interface of `priority.PriorityTree`.

    All weigh the same: what clients say of priorities is advice (RFC 9113,
    section 5.3.2). A tree refers to itself, so that its memory would wait for
    the collector.
    """

    def __init__(self) -> None:
        self._blocked: set[int] = set()
        self._ready: dict[int, None] = {}

    def __next__(self) -> int:
        """The stream that has waited longest among those that are not blocked.

        Raises:
            DeadlockError: All are blocked.
        """
        for stream_id in self._ready:
            del self._ready[stream_id]
            self._ready[stream_id] = None
            return stream_id
        raise DeadlockError

    def insert_stream(self, stream_id: int) -> None:
        """Add a stream, which is not blocked."""
        self._ready[stream_id] = None

    def remove_stream(self, stream_id: int) -> None:
        """Forget a stream."""
        self._ready.pop(stream_id, None)
        self._blocked.discard(stream_id)

    def block(self, stream_id: int) -> None:
        """A stream has nothing to send, or no credit."""
        if stream_id in self._ready:
            del self._ready[stream_id]
            self._blocked.add(stream_id)

    def unblock(self, stream_id: int) -> None:
        """A stream may have something to send.

        Raises:
            MissingStreamError: It has been forgotten.
        """
        if stream_id in self._blocked:
            self._blocked.remove(stream_id)
            self._ready[stream_id] = None
        elif stream_id not in self._ready:
            raise MissingStreamError


def install() -> None:
    """Have Hypercorn use it. It takes the class from its own module and leaves no other way in."""
    h2.StreamBuffer = BoundedBuffer  # type: ignore[misc]
