"""What a session needs of whatever carries its frames."""

from __future__ import annotations

from typing import Protocol

from web.channels.frames import Frame

__all__ = ["Transport"]


class Transport(Protocol):
    """The client's end: a WebSocket on the raw lane, one behind Quart, a long poll, a test.

    Nothing here waits or raises. A transport has a limit; when a client reads so
    slowly that the limit is passed, the transport ends the connection by itself,
    drops what comes after, and its owner tells the session (`Session.closed`).
    """

    @property
    def congested(self) -> bool:
        """Whether frames are waiting, so that a state should rather wait to be the newest.

        When it turns False again the owner calls `Session.writable`.
        """

    def send(self, frame: Frame) -> None:
        """Take a frame, in order; after the end, drop it."""

    def close(self, code: int, reason: str) -> None:
        """End the connection after the frames already taken. Later calls do nothing."""

    def tick(self, now: float) -> None:
        """Learn the time, every few seconds, until the owner has told the session of the end."""
