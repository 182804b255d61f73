"""The transport of a client that long-polls: a bounded buffer of frames for its next poll."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from web.channels.frames import Frame
from web.channels.session import Session
from web.channels.transport import MAX_WAITING_BYTES, AbortReason

__all__ = ["DEATH_S", "MAX_WAITING_FRAMES", "LongPollBuffer"]

# A client is gone after one and a half poll windows without a poll, as in Phoenix.
DEATH_S: Final = 15.0
MAX_WAITING_FRAMES: Final = 1000


class LongPollBuffer:
    """Frames that wait for the next poll.

    Args:
        now: The time, in seconds of a clock that only goes forward.
        on_end: Called once, when the session has ended.

    Attributes:
        token: Names the session in requests; unguessable.
        closed: Whether the server has ended the session.
    """

    __slots__ = ("_bytes", "_frames", "_on_end", "_polled_at", "_session", "_waiter", "closed", "token")

    def __init__(self, token: str, *, now: float, on_end: Callable[[LongPollBuffer], None]) -> None:
        self.token = token
        self.closed = False
        self._frames: list[str] = []
        self._bytes = 0
        self._polled_at = now
        self._waiter: trio.Event | None = None
        self._session: Session | None = None
        self._on_end = on_end

    def attach(self, session: Session) -> None:
        """Set the session; once, before anything else."""
        self._session = session

    # -- for the request handlers ------------------------------------------------------------

    def receive(self, data: str | bytes, now: float) -> bool:
        """Hand a message of the client to the session; False if the session has ended."""
        if self._session is not None and not self.closed:
            self._session.receive(data, now)
        return not self.closed

    async def poll(self, window_s: float, now: Callable[[], float]) -> list[str]:
        """Return the frames that wait, or those that come first within the window.

        A second poll replaces one that waits: the first returns nothing.
        """
        if self._waiter is not None:
            self._waiter.set()
        self._touch(now())
        if not self._frames and not self.closed:
            await self._wait(window_s)
            self._touch(now())
        return self._take()

    async def _wait(self, window_s: float) -> None:
        self._waiter = waiter = trio.Event()
        try:
            with trio.move_on_after(window_s):
                await waiter.wait()
        finally:
            if self._waiter is waiter:
                self._waiter = None

    def _take(self) -> list[str]:
        if self._waiter is not None:
            return []
        frames, self._frames, self._bytes = self._frames, [], 0
        if frames and self._session is not None:
            self._session.writable()
        return frames

    def _touch(self, now: float) -> None:
        self._polled_at = now
        if self._session is not None:
            self._session.heard(now)

    # -- for the session -------------------------------------------------------------

    @property
    def is_backpressured(self) -> bool:
        """Whether frames wait for a poll."""
        return bool(self._frames)

    def send(self, frame: Frame) -> None:
        """Keep a frame for the next poll. Binary frames are dropped: no client can read them from a poll."""
        if self.closed or not frame.is_text:
            return
        if len(self._frames) >= MAX_WAITING_FRAMES or self._bytes + len(frame.data) > MAX_WAITING_BYTES:
            if self._session is not None:
                self._session.aborted(AbortReason.OVERFLOW, self._bytes)
            self.end()
            return
        self._frames.append(frame.text)
        self._bytes += len(frame.data)
        self._wake()

    def close(self, code: int, reason: str) -> None:  # noqa: ARG002  # a poll has no room for either
        """End the session; a waiting poll is answered."""
        self.closed = True
        self._wake()

    def abort(self) -> None:
        """End the session."""
        self.end()

    def tick(self, now: float) -> None:
        """End the session of a client that has stopped polling, or that the server has closed."""
        if self.closed or (self._waiter is None and now - self._polled_at >= DEATH_S):
            self.end()

    def end(self) -> None:
        """End the transport and tell the session. Does nothing the second time."""
        session, self._session = self._session, None
        if session is None:
            return
        self.closed = True
        self._wake()
        self._on_end(self)
        session.closed()

    def _wake(self) -> None:
        if self._waiter is not None:
            self._waiter.set()
