"""What can happen to a match: a closed union."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import TypeAlias

from actors.matches.callback import Call


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The API server has acknowledged the room."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The API server did not acknowledge the room, could not be asked, or knows it no more (404)."""


@dataclass(frozen=True, slots=True)
class CallbackSettled:
    """A callback is settled, delivered or kept elsewhere: it need not be said again after a crash."""

    call: Call


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
    """Time has passed. One that comes too early, or once too often, does nothing."""


@dataclass(frozen=True, slots=True)
class Terminated:
    """An operator ends the match."""


@dataclass(frozen=True, slots=True)
class ProcessFailed:
    """The match's task has crashed more often than its supervisor allows."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A new life of the match's task begins with the kept value.

    Attributes:
        connections: Those that are still up; players of others are not there any more.
    """

    connections: Collection[Hashable] = ()


Event: TypeAlias = (
    Confirmed
    | Rejected
    | CallbackSettled
    | Joined
    | Disconnected
    | Left
    | Acted
    | Tick
    | Terminated
    | ProcessFailed
    | Recovered
)
