"""The transport of a session: what carries its frames, and the limits that all transports share."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final, Protocol

from web.channels.frames import Frame

__all__ = [
    "CLOSE_S",
    "MAX_MESSAGE_BYTES",
    "MAX_WAITING_BYTES",
    "STALL_S",
    "AbortReason",
    "EndReason",
    "Transport",
]

# Of one message of a client, its fragments together.
MAX_MESSAGE_BYTES: Final = 1 << 20
# Some thousand pushes of a match; a client this far behind is not playing any more.
MAX_WAITING_BYTES: Final = 256 * 1024
# A client that has taken nothing for this long is gone or stuck.
STALL_S: Final = 30.0
# How long a client may take to answer our close frame.
CLOSE_S: Final = 5.0


class AbortReason(Enum):
    """Why a transport ends a connection without a closing handshake."""

    OVERFLOW = "overflow"  # too much waits to be written
    STALLED = "stalled"  # nothing has been taken for too long
    NO_CLOSE = "no_close"  # our close was not answered


class EndReason(StrEnum):
    """What ended a session, for the counters: the first cause."""

    CLIENT_GONE = "client_gone"
    IDLE = "idle"
    LOGGED_OUT = "logged_out"
    DRAINED = "drained"
    PROTOCOL = "protocol"  # the client broke it
    FAULT = "fault"  # ours
    OVERFLOW = AbortReason.OVERFLOW.value
    STALLED = AbortReason.STALLED.value
    NO_CLOSE = AbortReason.NO_CLOSE.value


class Transport(Protocol):
    """Carries the frames of one session: a WebSocket, a long poll, a test's list.

    Nothing here waits or raises. What waits to be written is bounded by
    `MAX_WAITING_BYTES`; past it the transport ends the connection by itself
    (`Session.aborted`), drops later frames, and its owner calls `Session.closed`.
    """

    @property
    def is_backpressured(self) -> bool:
        """Whether frames are waiting: senders of whole states then keep only the newest.

        When it turns False the owner calls `Session.writable`.
        """

    def send(self, frame: Frame) -> None:
        """Queue or write a frame, in order; after the end, drop it."""

    def close(self, code: int, reason: str) -> None:
        """Close the connection after the frames already taken. Later calls do nothing."""

    def abort(self) -> None:
        """End the connection without a closing handshake; its owner calls `Session.closed`."""

    def tick(self, now: float) -> None:
        """Check timeouts; called every few seconds until the session has ended."""
