"""The states of a match, and the table of its transitions.

                CONFIRMED    ALL_JOINED      GAME_OVER
    preparing ────────▶ ready ────────▶ playing ────────▶ finished
      │  │                │                │
      │  │ TERMINATED     │ JOIN_TIMEOUT   │ ALL_DISCONNECTED
      │  │                │ REJECTED       │ REJECTED
      │  │                │ TERMINATED     │ TERMINATED
      │  │                │ PROCESS_FAILED │ PROCESS_FAILED
      │  └────────────────┴────────────────┴───────────────▶ aborted
      │
      └── REJECTED, UNCONFIRMED, PROCESS_FAILED ───────────▶ failed

While preparing, the callback `ready` stands among the match's `unacked` ones
and its answer decides: acknowledged is CONFIRMED, no answer is UNCONFIRMED
(followed by `aborted`, since it may have arrived), all else is REJECTED.
Finished and aborted matches linger, a failed one goes at once.

A trigger without a row in the table is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum, auto
from types import MappingProxyType
from typing import Final


class Status(StrEnum):
    """The state of a match."""

    PREPARING = "preparing"
    READY = "ready"
    PLAYING = "playing"
    FINISHED = "finished"
    ABORTED = "aborted"
    FAILED = "failed"


BROKEN_OFF: Final = frozenset({Status.ABORTED, Status.FAILED})
OVER: Final = BROKEN_OFF | {Status.FINISHED}


class AbortReason(StrEnum):
    """Why a match ended in another way than by its rules.

    ROOM_UNKNOWN is for players only: the API server has said so itself and hears nothing more.
    """

    JOIN_TIMEOUT = "join_timeout"
    ALL_DISCONNECTED = "all_disconnected"
    ADMIN_TERMINATED = "admin_terminated"
    PROCESS_ERROR = "process_error"
    ROOM_UNKNOWN = "room_unknown"


class Trigger(Enum):
    """What moves a match from one status to another."""

    CONFIRMED = auto()  # the API server has acknowledged the room
    REJECTED = auto()  # it does not want it or does not know it, or another node has it
    UNCONFIRMED = auto()  # it could not be asked
    ALL_JOINED = auto()  # every expected player is there
    JOIN_TIMEOUT = auto()  # and this time they are not
    GAME_OVER = auto()  # the rules say so
    ALL_DISCONNECTED = auto()  # nobody has come back within the grace
    TERMINATED = auto()  # an operator says so
    PROCESS_FAILED = auto()  # the match has crashed more often than its supervisor allows


TRANSITIONS: Final[Mapping[tuple[Status, Trigger], Status]] = MappingProxyType(
    {
        (Status.PREPARING, Trigger.CONFIRMED): Status.READY,
        (Status.PREPARING, Trigger.REJECTED): Status.FAILED,
        (Status.PREPARING, Trigger.UNCONFIRMED): Status.FAILED,
        (Status.PREPARING, Trigger.TERMINATED): Status.ABORTED,
        (Status.PREPARING, Trigger.PROCESS_FAILED): Status.FAILED,
        (Status.READY, Trigger.ALL_JOINED): Status.PLAYING,
        (Status.READY, Trigger.JOIN_TIMEOUT): Status.ABORTED,
        (Status.READY, Trigger.REJECTED): Status.ABORTED,
        (Status.READY, Trigger.TERMINATED): Status.ABORTED,
        (Status.READY, Trigger.PROCESS_FAILED): Status.ABORTED,
        (Status.PLAYING, Trigger.GAME_OVER): Status.FINISHED,
        (Status.PLAYING, Trigger.ALL_DISCONNECTED): Status.ABORTED,
        (Status.PLAYING, Trigger.REJECTED): Status.ABORTED,
        (Status.PLAYING, Trigger.TERMINATED): Status.ABORTED,
        (Status.PLAYING, Trigger.PROCESS_FAILED): Status.ABORTED,
    }
)

ABORT_REASONS: Final[Mapping[Trigger, AbortReason]] = MappingProxyType(
    {
        Trigger.JOIN_TIMEOUT: AbortReason.JOIN_TIMEOUT,
        Trigger.ALL_DISCONNECTED: AbortReason.ALL_DISCONNECTED,
        Trigger.TERMINATED: AbortReason.ADMIN_TERMINATED,
        Trigger.PROCESS_FAILED: AbortReason.PROCESS_ERROR,
        Trigger.REJECTED: AbortReason.ROOM_UNKNOWN,
        Trigger.UNCONFIRMED: AbortReason.PROCESS_ERROR,
    }
)

# What players read in `game:aborted`.
MESSAGES: Final[Mapping[AbortReason, str]] = MappingProxyType(
    {
        AbortReason.JOIN_TIMEOUT: "Not everybody came in time.",
        AbortReason.ALL_DISCONNECTED: "Everybody lost their connection.",
        AbortReason.ADMIN_TERMINATED: "The match was ended by an administrator.",
        AbortReason.PROCESS_ERROR: "The match broke down.",
        AbortReason.ROOM_UNKNOWN: "The room is gone.",
    }
)
