"""A stream's member of an audience, on the Quart lane.

It holds what is to be sent first, and after that only the newest event: the
generator that feeds Hypercorn takes it when Hypercorn has sent the last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from actors.core import ConflatingMember
from web.handlers.compression import begin_gzip, shared_block
from web.handlers.sse import HEARTBEAT, sse, sse_since
from web.handlers.streams import CLIENT_GONE, STALLED

if TYPE_CHECKING:
    from actors.core import Event
    from web.handlers.http import Opening, OpenStream
    from web.handlers.streams import Streams
    from web.server.stall_timeout import StallTimeoutStream

# A heartbeat is promised at least every so often; timers are late, never early.
EARLY: Final = 0.9


class StreamResponse(ConflatingMember):
    """One client's stream.

    Args:
        wanted: What it listens to.
        streams: Whom it is known to.
        connection: What it is sent over.
        heartbeat_s: Seconds within which a comment must go out.
    """

    __slots__ = (
        "_beat_at",
        "_beside",
        "_connection",
        "_farewell",
        "_first",
        "_heartbeat_s",
        "_reason",
        "_seen",
        "_streams",
        "_wake",
        "_wanted",
    )

    def __init__(
        self, wanted: OpenStream, *, streams: Streams, connection: StallTimeoutStream, heartbeat_s: float
    ) -> None:
        super().__init__()
        self._wanted = wanted
        self._streams = streams
        self._connection = connection
        self._heartbeat_s = heartbeat_s * EARLY
        self._beat_at = trio.current_time() + self._heartbeat_s
        self._first = b""
        self._beside = b""
        self._seen: int | None = None
        self._farewell: bytes | None = None
        self._reason = CLIENT_GONE
        self._wake: trio.Event | None = None

    def begin(self, opening: Opening) -> None:
        """Take what is to be sent first."""
        self._first = begin_gzip(opening.parts) if self._wanted.is_compressed else opening.frames
        self.seq = opening.seq

    def take(self, event: Event, seen: int) -> bool:  # noqa: ARG002  # it is kept for the generator
        """Have the generator take it."""
        self._seen = seen
        self._notify()
        return False

    def note_overtaken(self) -> None:
        """Send the newest event alone."""
        self._seen = None

    def tell(self, frames: bytes) -> None:
        """Have the generator take `frames`, in place of older ones."""
        self._beside = frames
        self._notify()

    def close(self, reason: str, farewell: bytes = b"") -> None:
        """End the stream after what is there and `farewell`."""
        if self._farewell is None:
            self._reason = reason
            self._farewell = farewell
            self._notify()

    def abort(self) -> None:
        """Reset the connection."""
        self._connection.abort()

    def cut_off(self) -> None:
        """Reset the connection of a client that takes nothing."""
        self._reason = STALLED
        self._connection.abort()

    def end(self) -> None:
        """Leave the audience; for the lane, when the request is over in whatever way."""
        stalled = self._connection.stalled and self._reason == CLIENT_GONE
        self._streams.leave(self._wanted, self, STALLED if stalled else self._reason)

    async def next(self) -> bytes | None:
        """What to send next, when there is something; None at the end."""
        while True:
            now = trio.current_time()
            ready = self._ready(now)
            if ready is not None:
                return ready or None
            self._wake = trio.Event()
            with trio.move_on_at(self._beat_at):
                await self._wake.wait()

    def _ready(self, now: float) -> bytes | None:
        """What can be sent now, empty at the end; None if there is nothing yet."""
        if self._first:
            first, self._first = self._first, b""
            return first
        if now >= self._beat_at:
            self._beat_at = now + self._heartbeat_s
            ready = HEARTBEAT
        elif (event := self.catch_up()) is not None:
            ready = sse(event) if self._seen is None else sse_since(event, self._seen)
        elif self._beside:
            ready, self._beside = self._beside, b""
        elif self._farewell is not None:
            ready, self._farewell = self._farewell, b""
        else:
            return None
        return shared_block(ready) if ready and self._wanted.is_compressed else ready

    def _notify(self) -> None:
        if self._wake is not None:
            self._wake.set()
