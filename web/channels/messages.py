"""The words of the channel protocol, whatever their encoding.

A message has five parts. `join_ref` names one join of a topic and comes back in
everything that belongs to it; `ref` pairs a push with its reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, Literal, NamedTuple, TypeAlias

from orjson import Fragment

__all__ = [
    "CLOSE",
    "ERROR",
    "HEARTBEAT",
    "JOIN",
    "LEAVE",
    "PHOENIX",
    "REPLY",
    "BadFrame",
    "BadPush",
    "CloseCode",
    "Message",
    "Payload",
    "Ref",
    "Reply",
    "Status",
]

JOIN: Final = "phx_join"
LEAVE: Final = "phx_leave"
CLOSE: Final = "phx_close"
ERROR: Final = "phx_error"
REPLY: Final = "phx_reply"
HEARTBEAT: Final = "heartbeat"
PHOENIX: Final = "phoenix"
"""The topic of heartbeats, which nobody joins."""

Ref: TypeAlias = str | int | None
"""Made by the client and echoed untouched. The npm client sends strings, others numbers."""

Payload: TypeAlias = Mapping[str, object] | Fragment | bytes
"""What the server may send: an object, an object already encoded as JSON, or bytes."""

Status: TypeAlias = Literal["ok", "error"]


class CloseCode(IntEnum):
    """Why a socket is closed (RFC 6455, section 7.4.1).

    Never 1000: clients up to 1.8.15 take it as "do not come back".
    """

    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED = 1003
    INVALID_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    FAULT = 1011
    RESTART = 1012


class Message(NamedTuple):
    """What a client said, or a push to it."""

    join_ref: Ref
    ref: Ref
    topic: str
    event: str
    payload: object


class Reply(NamedTuple):
    """The answer to one message of a client."""

    join_ref: Ref
    ref: Ref
    topic: str
    status: Status
    response: Payload


class BadFrame(ValueError):
    """The client sent a frame that means nothing; the socket is closed.

    Attributes:
        code: 1007 for data that is not what its kind promises, 1003 for a kind
            that is not spoken on this socket.
        reason: For the close frame; names no part of what was sent.
    """

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class BadPush(BadFrame):
    """Text in a message is not Unicode: the message is refused with an error reply, the socket stays.

    Attributes:
        message: As far as it could be read; text that is not Unicode holds U+FFFD.
    """

    def __init__(self, message: Message) -> None:
        super().__init__(CloseCode.INVALID_DATA, "text is not Unicode")
        self.message = message
