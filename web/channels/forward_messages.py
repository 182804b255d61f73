"""What the node of a client and the node of its room send one another about one forwarded channel.

Each is a JSON array, `["push", 7, …]`: its name, the number of the channel, as the client's node counts
them, and the fields of the class. What comes from the room's node is numbered from 1 within its channel,
so that the client's node sees a gap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import orjson

__all__ = [
    "FROM_CLIENTS",
    "FROM_ROOMS",
    "ChannelEnded",
    "ChannelLeft",
    "ChannelsHere",
    "ChannelsHosted",
    "EventPushed",
    "FromClient",
    "FromRoom",
    "JoinAccepted",
    "JoinAsked",
    "JoinRefused",
    "PushAnswered",
    "PushAsked",
    "pack",
    "unpack",
]

# Kinds of casts.
FROM_CLIENTS: Final = "channel_in"
FROM_ROOMS: Final = "channel_out"


class JoinAsked(NamedTuple):
    """A client wants to join; its node has verified who it is."""

    number: int
    topic: str
    user_id: str
    display_name: str
    payload: object


class PushAsked(NamedTuple):
    """A client's message, to be answered under `ref`."""

    number: int
    ref: int
    event: str
    payload: object


class ChannelLeft(NamedTuple):
    """The client's end of the channel is gone; `reason` is a `LeaveReason`."""

    number: int
    reason: str


class ChannelsHere(NamedTuple):
    """All channels that this node forwards to that one, sent at intervals: it is alive."""

    numbers: list[int]


class JoinAccepted(NamedTuple):
    """The client has joined."""

    number: int
    sent: int
    response: dict[str, Any]


class JoinRefused(NamedTuple):
    """It has not; if `is_final`, it should not ask again."""

    number: int
    sent: int
    response: dict[str, Any]
    is_final: bool


class EventPushed(NamedTuple):
    """An event for the client."""

    number: int
    sent: int
    event: str
    data: dict[str, Any]


class PushAnswered(NamedTuple):
    """The answer to the client's message `ref`."""

    number: int
    sent: int
    ref: int
    status: Literal["ok", "error"]
    response: dict[str, Any]


class ChannelEnded(NamedTuple):
    """The room's end of the channel is gone; if it `has_crashed`, the client should join again."""

    number: int
    sent: int
    has_crashed: bool


class ChannelsHosted(NamedTuple):
    """All channels that this node has for that one, as `[number, sent]`: it is alive."""

    positions: list[tuple[int, int]]


FromClient: TypeAlias = JoinAsked | PushAsked | ChannelLeft | ChannelsHere
FromRoom: TypeAlias = JoinAccepted | JoinRefused | EventPushed | PushAnswered | ChannelEnded | ChannelsHosted

NAMES: Final[dict[str, type[FromClient | FromRoom]]] = {
    "join": JoinAsked,
    "ask": PushAsked,
    "left": ChannelLeft,
    "here": ChannelsHere,
    "accepted": JoinAccepted,
    "refused": JoinRefused,
    "push": EventPushed,
    "answer": PushAnswered,
    "ended": ChannelEnded,
    "hosted": ChannelsHosted,
}
_NAME_OF: Final = {cls: name for name, cls in NAMES.items()}


def _is(kind: type) -> Callable[[object], bool]:
    return lambda value: type(value) is kind


def _is_positions(value: object) -> bool:
    return type(value) is list and all(
        type(pair) is list and len(pair) == 2 and all(type(number) is int for number in pair)  # noqa: PLR2004
        for pair in value
    )


def _is_numbers(value: object) -> bool:
    return type(value) is list and all(type(number) is int for number in value)


# What each field must be.
_FIELDS: Final[dict[str, Callable[[object], bool]]] = {
    "number": _is(int),
    "sent": _is(int),
    "ref": _is(int),
    "topic": _is(str),
    "user_id": _is(str),
    "display_name": _is(str),
    "event": _is(str),
    "status": lambda value: value in ("ok", "error"),
    "reason": _is(str),
    "response": _is(dict),
    "data": _is(dict),
    "is_final": _is(bool),
    "has_crashed": _is(bool),
    "payload": lambda _value: True,
    "numbers": _is_numbers,
    "positions": _is_positions,
}


def pack(message: FromClient | FromRoom) -> bytes:
    """The body of a cast.

    Raises:
        TypeError: The payload cannot be written as JSON.
    """
    return orjson.dumps((_NAME_OF[type(message)], *message))


def unpack(body: bytes) -> FromClient | FromRoom | None:
    """Read the body of a cast; None if it is none of these messages."""
    try:
        parts = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if type(parts) is not list or not parts or type(parts[0]) is not str:
        return None
    cls, fields = NAMES.get(parts[0]), parts[1:]
    if cls is None or len(fields) != len(cls._fields):
        return None
    if not all(_FIELDS[name](value) for name, value in zip(cls._fields, fields, strict=True)):
        return None
    return cls(*fields)
