"""Frames for a server that writes one at a time and waits each time: a bounded queue with one reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from web.channels.frames import Frame
from web.channels.messages import CloseCode
from web.channels.session import Session
from web.channels.transport import Cut

__all__ = ["MAX_WAITING_BYTES", "Closing", "Outbox"]

MAX_WAITING_BYTES: Final = 256 * 1024
# A client that has taken nothing for this long is gone or stuck.
STALL_S: Final = 30.0
# How long it may take to say goodbye.
CLOSE_S: Final = 5.0


class Closing:
    """The end of a connection.

    Attributes:
        code: For the close frame.
        reason: For the close frame, at most 123 bytes.
    """

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


class Outbox:
    """The transport of a session whose frames another task writes.

    Args:
        now: The time, in seconds of a clock that only goes forward.
        cut: Ends the connection at once; called when the client does not read.
    """

    __slots__ = (
        "_bytes",
        "_closing",
        "_cut",
        "_frames",
        "_moved_at",
        "_now",
        "_ready",
        "_said",
        "_session",
        "_writing",
    )

    def __init__(self, *, now: float, cut: Callable[[], None]) -> None:
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._closing: Closing | None = None
        self._cut = cut
        self._moved_at = self._now = now
        self._ready: trio.Event | None = None
        self._said = False
        self._session: Session | None = None
        self._writing = False

    def attach(self, session: Session) -> None:
        """The session whose frames these are."""
        self._session = session

    # -- for the task that writes ----------------------------------------------------

    async def next(self) -> Frame | Closing:
        """What to write; asking for it says that the one before has been written."""
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
        self._said = True
        return self._closing

    @property
    def unsaid(self) -> Closing | None:
        """A goodbye that the task has not come to, as when the client was cut."""
        return None if self._said else self._closing

    # -- for the session -------------------------------------------------------------

    @property
    def congested(self) -> bool:
        """Whether a frame is being written, or waits."""
        return self._writing or bool(self._frames)

    def send(self, frame: Frame) -> None:
        """Keep a frame until it can be written; too many end the connection."""
        if self._closing is not None:
            return
        if self._frames and self._bytes + len(frame.data) > MAX_WAITING_BYTES:
            self._end(Cut.OVERFLOW)
            return
        self._frames.append(frame)
        self._bytes += len(frame.data)
        self._wake()

    def close(self, code: int, reason: str) -> None:
        """Say goodbye after the frames that wait."""
        if self._closing is None:
            self._closing = Closing(code, reason)
            self._moved_at = self._now
            self._wake()

    def tick(self, now: float) -> None:
        """Cut a client that does not read, or does not let go."""
        self._now = now
        still_s = now - self._moved_at
        if self.congested and still_s >= STALL_S:
            self._end(Cut.STALLED)
        elif self._closing is not None and still_s >= CLOSE_S:
            self._end(Cut.NO_CLOSE)

    def _end(self, why: Cut) -> None:
        if self._session is not None:
            self._session.cut(why, self._bytes)
        self._frames.clear()
        self.close(CloseCode.TRY_LATER, "too slow")
        self._cut()

    def _wake(self) -> None:
        if self._ready is not None:
            self._ready.set()
