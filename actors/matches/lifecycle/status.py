"""Where a match can be, and how it gets from there to there: a table.

    preparing ──▶ ready ──▶ playing ──▶ finished
        │           │          │
        ├───────────┴──────────┴──────▶ aborted
        └──▶ failed

What is not in the table does not happen: a trigger that finds no row is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum, auto
from types import MappingProxyType
from typing import Final


class Status(StrEnum):
    """Where in its life a match is."""

    PREPARING = "preparing"
    READY = "ready"
    PLAYING = "playing"
    FINISHED = "finished"
    ABORTED = "aborted"
    FAILED = "failed"


OVER: Final = frozenset({Status.FINISHED, Status.ABORTED, Status.FAILED})


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
    REJECTED = auto()  # it does not want it, does not know it, or could not be asked
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
