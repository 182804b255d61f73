"""Parses operators' commands: bytes in, a command or the reason for its refusal out. Pure.

`{"command":"terminate","room_id":…,"reason":"admin_terminated","admin_id":…,"issued_at":…}`
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson


class Ignored(StrEnum):
    """Why a message is no command."""

    BAD_JSON = "bad_json"
    UNKNOWN_COMMAND = "unknown_command"
    BAD_ROOM_ID = "bad_room_id"


@dataclass(frozen=True, slots=True)
class Terminate:
    """End a match.

    Attributes:
        room_id: Which.
        admin_id: Who says so, for the log.
    """

    room_id: str
    admin_id: str


def read_command(message: bytes) -> Terminate | Ignored:
    """Check a message of the channel. Never raises."""
    try:
        said: Any = orjson.loads(message)
    except orjson.JSONDecodeError:
        return Ignored.BAD_JSON
    if not isinstance(said, dict):
        return Ignored.BAD_JSON
    if said.get("command") != "terminate":
        return Ignored.UNKNOWN_COMMAND
    room_id = said.get("room_id")
    if not isinstance(room_id, str) or not room_id:
        return Ignored.BAD_ROOM_ID
    return Terminate(room_id, str(said.get("admin_id", "")))
