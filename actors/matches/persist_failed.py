"""`persist_failed:{room_id}`: results in Redis that the API server could not be told."""

from __future__ import annotations

from typing import Final

import orjson

from actors.links import Command
from actors.matches.callback import Call, Callback
from actors.rooms import is_room_id

PREFIX: Final = "persist_failed:"
KEPT_S: Final = 7 * 86_400


def set_command(room_id: str, body: bytes) -> Command:
    """Keep the body of a `finished` for seven days."""
    return ("SET", PREFIX + room_id, body, "EX", KEPT_S)


def callback_of(room_id: str, body: bytes) -> Callback | None:
    """The very call that failed, with the same idempotency key; None if the body is not one of ours."""
    if not is_room_id(room_id):
        return None
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(said, dict) or said.get("room_id") != room_id or "result_data" not in said:
        return None
    return Callback(Call.FINISHED, room_id, "PUT", f"/rooms/{room_id}/{Call.FINISHED}", body)


def age_s(ttl_s: int) -> float:
    """Seconds since a key was set, from what is left of its life."""
    return float(KEPT_S - ttl_s) if ttl_s >= 0 else 0.0
