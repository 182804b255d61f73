"""Callbacks that are kept: `persist_failed:{room_id}` in Redis, and the names they have on the disk."""

from __future__ import annotations

from typing import Final

import orjson

from actors.links import Command
from actors.matches.callback import Call, Callback
from actors.rooms import is_room_id

PREFIX: Final = "persist_failed:"
KEPT_S: Final = 7 * 86_400
KINDS: Final = {"": Call.FINISHED, "started": Call.STARTED, "aborted": Call.ABORTED}


def set_command(room_id: str, body: bytes) -> Command:
    """Keep the body of a `finished` for seven days."""
    return ("SET", PREFIX + room_id, body, "EX", KEPT_S)


def name_of(callback: Callback) -> str:
    """What a kept callback is called: the room id for a `finished`, with the call behind it for others."""
    return callback.room_id if callback.call is Call.FINISHED else f"{callback.room_id}.{callback.call}"


def callback_of(name: str, body: bytes) -> Callback | None:
    """The very call that was kept, with the same idempotency key; None if it is not one of ours."""
    room_id, _, kind = name.partition(".")
    call = KINDS.get(kind)
    if call is None or not is_room_id(room_id):
        return None
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(said, dict) or said.get("room_id") != room_id:
        return None
    if call is Call.FINISHED and "result_data" not in said:
        return None
    return Callback(call, room_id, "PUT", f"/rooms/{room_id}/{call}", body)


def age_s(ttl_s: int) -> float:
    """Seconds since a key was set, from what is left of its life."""
    return float(KEPT_S - ttl_s) if ttl_s >= 0 else 0.0
