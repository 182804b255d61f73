"""A send buffer for HTTP/2 streams that holds its sender back.

Hypercorn's own says "go on" whenever it is asked for bytes, also when flow
control lets none out: a client that gives no credit makes the server keep
every event. This one says so only when little is left.
"""

from __future__ import annotations

from typing import Final

from hypercorn.protocol import h2
from hypercorn.protocol.h2 import BufferCompleteError, StreamBuffer

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


def install() -> None:
    """Have Hypercorn use it. It takes the class from its own module and leaves no other way in."""
    h2.StreamBuffer = BoundedBuffer  # type: ignore[misc]
