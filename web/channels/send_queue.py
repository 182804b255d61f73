"""The transport behind an ASGI server: a bounded queue of frames that one task writes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from web.channels.frames import Frame
from web.channels.messages import CloseCode
from web.channels.session import Session
from web.channels.transport import CLOSE_S, MAX_WAITING_BYTES, STALL_S, AbortReason

__all__ = ["CloseFrame", "SendQueue"]


class CloseFrame:
    """A close frame to be sent.

    Attributes:
        code: Its code.
        reason: Its text, at most 123 bytes.
    """

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


class SendQueue:
    """Frames that the writer task sends one after the other.

    Args:
        now: The time, in seconds of a clock that only goes forward.
        abort: Ends the connection at once; called when the client does not read.
    """

    __slots__ = (
        "_abort",
        "_bytes",
        "_close_sent",
        "_closing",
        "_frames",
        "_moved_at",
        "_now",
        "_ready",
        "_session",
        "_writing",
    )

    def __init__(self, *, now: float, abort: Callable[[], None]) -> None:
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._closing: CloseFrame | None = None
        self._abort = abort
        self._moved_at = self._now = now
        self._ready: trio.Event | None = None
        self._close_sent = False
        self._session: Session | None = None
        self._writing = False

    def attach(self, session: Session) -> None:
        """Set the session; once, before anything else."""
        self._session = session

    # -- for the writer task ---------------------------------------------------------

    async def next(self) -> Frame | CloseFrame:
        """Wait for the next frame to write; calling it says that the one before has been written."""
        self._writing = False
        self._moved_at = self._now
        while not self._frames and self._closing is None:
            if self._session is not None:
                self._session.writable()
            if not self._frames and self._closing is None:
                self._ready = trio.Event()
                await self._ready.wait()
                self._ready = None
        self._writing = True
        self._moved_at = self._now
        if self._frames:
            frame = self._frames.popleft()
            self._bytes -= len(frame.data)
            return frame
        assert self._closing is not None  # noqa: S101  # what the loop above has waited for
        self._close_sent = True
        return self._closing

    @property
    def unsent_close(self) -> CloseFrame | None:
        """The close frame, if `next` has not returned it, as when the connection was aborted."""
        return None if self._close_sent else self._closing

    # -- for the session -------------------------------------------------------------

    @property
    def is_backpressured(self) -> bool:
        """Whether a frame is being written or waits."""
        return self._writing or bool(self._frames)

    def send(self, frame: Frame) -> None:
        """Queue a frame; the connection is aborted when too much waits."""
        if self._closing is not None:
            return
        if self._frames and self._bytes + len(frame.data) > MAX_WAITING_BYTES:
            self._abort_for(AbortReason.OVERFLOW)
            return
        self._frames.append(frame)
        self._bytes += len(frame.data)
        self._wake()

    def close(self, code: int, reason: str) -> None:
        """Send a close frame after the frames that wait."""
        if self._closing is None:
            self._closing = CloseFrame(code, reason)
            self._moved_at = self._now
            self._wake()

    def tick(self, now: float) -> None:
        """Abort the connection of a client that does not read, or does not answer the close."""
        self._now = now
        still_s = now - self._moved_at
        if self.is_backpressured and still_s >= STALL_S:
            self._abort_for(AbortReason.STALLED)
        elif self._closing is not None and still_s >= CLOSE_S:
            self._abort_for(AbortReason.NO_CLOSE)

    def _abort_for(self, why: AbortReason) -> None:
        if self._session is not None:
            self._session.aborted(why, self._bytes)
        self._frames.clear()
        self.close(CloseCode.TRY_LATER, "too slow")
        self._abort()

    def _wake(self) -> None:
        if self._ready is not None:
            self._ready.set()
