"""What a session needs of whatever carries its frames."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Protocol

from web.channels.frames import Frame

__all__ = ["Cut", "End", "Transport"]


class Cut(Enum):
    """Why a transport ends a connection by itself instead of closing it in good order."""

    OVERFLOW = "overflow"  # too much waits to be written
    STALLED = "stalled"  # nothing has been taken for too long
    NO_CLOSE = "no_close"  # our close was not answered


class End(StrEnum):
    """What ended a session, for the counters: the first cause, whatever came of it."""

    CLIENT_GONE = "client_gone"
    IDLE = "idle"
    LOGGED_OUT = "logged_out"
    DRAINED = "drained"
    PROTOCOL = "protocol"  # the client broke it
    FAULT = "fault"  # ours
    OVERFLOW = Cut.OVERFLOW.value
    STALLED = Cut.STALLED.value
    NO_CLOSE = Cut.NO_CLOSE.value


class Transport(Protocol):
    """The client's end: a WebSocket on the raw lane, one behind Quart, a long poll, a test.

    Nothing here waits or raises. A transport has a limit; when a client reads so
    slowly that the limit is passed, the transport ends the connection by itself
    (`Session.cut`), drops what comes after, and its owner tells the session (`Session.closed`).
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
