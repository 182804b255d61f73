"""What waits for a long poll: the transport of a client without a WebSocket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from web.channels.frames import Frame
from web.channels.session import Session
from web.channels.transport import Cut

__all__ = ["DEATH_S", "MAX_WAITING_BYTES", "MAX_WAITING_FRAMES", "Mailbox"]

# One and a half windows, as the client's own server has it.
DEATH_S: Final = 15.0
MAX_WAITING_BYTES: Final = 256 * 1024
MAX_WAITING_FRAMES: Final = 1000


class Mailbox:
    """Frames until the next poll takes them.

    Args:
        now: The time, in seconds of a clock that only goes forward.
        on_end: Called once, when the client is to be forgotten.

    Attributes:
        token: What the client names this by; nobody can guess it.
        closed: Whether the server has ended the session.
    """

    __slots__ = ("_bytes", "_frames", "_on_end", "_polled_at", "_session", "_waiter", "closed", "token")

    def __init__(self, token: str, *, now: float, on_end: Callable[[Mailbox], None]) -> None:
        self.token = token
        self.closed = False
        self._frames: list[str] = []
        self._bytes = 0
        self._polled_at = now
        self._waiter: trio.Event | None = None
        self._session: Session | None = None
        self._on_end = on_end

    def attach(self, session: Session) -> None:
        """The session whose frames these are."""
        self._session = session

    # -- for the handlers ------------------------------------------------------------

    def receive(self, data: str | bytes, now: float) -> bool:
        """Hand a frame of the client to the session; False if that has ended."""
        if self._session is not None and not self.closed:
            self._session.receive(data, now)
        return not self.closed

    async def poll(self, window_s: float, now: Callable[[], float]) -> list[str]:
        """What waits; if nothing does, whatever comes within the window.

        A second poll while one waits takes its place: the first ends with nothing.
        """
        if self._waiter is not None:
            self._waiter.set()
        self._alive(now())
        if not self._frames and not self.closed:
            await self._wait(window_s)
            self._alive(now())
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

    def _alive(self, now: float) -> None:
        self._polled_at = now
        if self._session is not None:
            self._session.heard(now)

    # -- for the session -------------------------------------------------------------

    @property
    def congested(self) -> bool:
        """Whether frames wait for a poll."""
        return bool(self._frames)

    def send(self, frame: Frame) -> None:
        """Keep a frame for the next poll. A binary one is dropped: no client can read it from a poll."""
        if self.closed or not frame.is_text:
            return
        if len(self._frames) >= MAX_WAITING_FRAMES or self._bytes + len(frame.data) > MAX_WAITING_BYTES:
            if self._session is not None:
                self._session.cut(Cut.OVERFLOW, self._bytes)
            self.end()
            return
        self._frames.append(frame.text)
        self._bytes += len(frame.data)
        self._wake()

    def close(self, code: int, reason: str) -> None:  # noqa: ARG002  # a poll has no room for either
        """End it; a poll that waits is answered."""
        self.closed = True
        self._wake()

    def tick(self, now: float) -> None:
        """Forget a client that has stopped polling, or that the server has ended."""
        if self.closed or (self._waiter is None and now - self._polled_at >= DEATH_S):
            self.end()

    def end(self) -> None:
        """The client is gone; the session hears it. Does nothing the second time."""
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
