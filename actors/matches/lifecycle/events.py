"""The events of a match: a closed union."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import TypeAlias

from actors.matches.callback import Call
from actors.matches.delivery import Verdict


@dataclass(frozen=True, slots=True)
class CallbackSettled:
    """A callback has been answered, or given up: it need not be made again after a crash.

    Attributes:
        call: Which of the five.
        verdict: How it ended.
        answer: Status and body of the last answer, for people; empty if there was none.
    """

    call: Call
    verdict: Verdict
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Requested:
    """The job of this match was pushed again: announce the room again and settle the new job too."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The match must not go on here: the API server does not know the room, or the job was given back."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A user wants in, over this connection. A newer connection takes the place of the older."""

    user_id: str
    display_name: str
    connection: Hashable


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A connection has ended. Means nothing unless it is the player's newest."""

    user_id: str
    connection: Hashable


@dataclass(frozen=True, slots=True)
class Left:
    """A player says that they leave: `room:leave`."""

    user_id: str


@dataclass(frozen=True, slots=True)
class Acted:
    """A player's `game:action`; the payload is whatever came."""

    user_id: str
    payload: object


@dataclass(frozen=True, slots=True)
class Tick:
    """A deadline may have come. Ignored if none has: ticks may be early or doubled."""


@dataclass(frozen=True, slots=True)
class Terminated:
    """An operator ends the match."""


@dataclass(frozen=True, slots=True)
class ProcessFailed:
    """The match cannot go on: its task crashed past its limit, its rules keep failing, or the node stops."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A new run of the match's task begins with the kept value.

    Attributes:
        connections: Those that are still up; players of others are not there any more.
    """

    connections: Collection[Hashable] = ()


Event: TypeAlias = (
    CallbackSettled
    | Requested
    | Rejected
    | Joined
    | Disconnected
    | Left
    | Acted
    | Tick
    | Terminated
    | ProcessFailed
    | Recovered
)
