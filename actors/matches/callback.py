"""The five calls to the API server about a match, as values.

| Call | When | Body |
|---|---|---|
| `POST /rooms` | the room is up, or could not be made | `{room_id,node_name,status}`, `reason` if it failed |
| `PUT /rooms/{id}/started` | every expected player has joined | `{room_id,started_at,player_ids}` |
| `PUT /rooms/{id}/finished` | the rules say it is over | `{room_id,winner_id,result_data,finished_at}` |
| `PUT /rooms/{id}/aborted` | it ended in any other way | `{room_id,reason,aborted_at}` |
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from actors.core import iso_utc

NAMESPACE: Final = uuid.UUID("6f1c9c0e-1f0b-5d0a-9a55-7e0e3c1d2b40")


class Call(StrEnum):
    """Which of the five."""

    READY = "ready"
    FAILED = "failed"
    STARTED = "started"
    FINISHED = "finished"
    ABORTED = "aborted"


# How a match has ended: one of them is made of each match, under one idempotency key.
FINAL_CALLS: Final = frozenset({Call.FINISHED, Call.ABORTED})


@dataclass(frozen=True, slots=True)
class Callback:
    """One call to make.

    Attributes:
        call: Which.
        room_id: Whose; calls of one room are made in the order they were submitted.
        method: `POST` or `PUT`.
        path: Below the API server's base address.
        body: JSON.
        life: Tells calls of the same body apart that belong to two lives of one room id.
    """

    call: Call
    room_id: str
    method: str
    path: str
    body: bytes
    life: str = ""

    @property
    def idempotency_key(self) -> str:
        """The same for one call of one life of a room, however often and by whatever process it is made."""
        life = f"\n{self.life}" if self.life else ""
        return str(uuid.uuid5(NAMESPACE, f"{self.method} {self.path}\n{self.body.decode()}{life}"))


def ready(room_id: str, *, node_name: str, life: str = "") -> Callback:
    """The room is up on this node."""
    return _post(Call.READY, {"room_id": room_id, "node_name": node_name, "status": "ready"}, life)


def failed(room_id: str, *, node_name: str, reason: str, life: str = "") -> Callback:
    """There will be no room; `reason` in snake_case."""
    body = {"room_id": room_id, "node_name": node_name, "status": "failed", "reason": reason}
    return _post(Call.FAILED, body, life)


def started(room_id: str, *, player_ids: Sequence[str], at_s: float) -> Callback:
    """Everybody is there, since the Unix time `at_s`."""
    body = {"room_id": room_id, "started_at": iso_utc(at_s), "player_ids": list(player_ids)}
    return _put(Call.STARTED, body)


def finished(room_id: str, *, winner_id: str | None, result_data: dict[str, Any], at_s: float) -> Callback:
    """The rules say it is over.

    `result_data` is `{players:{uid:{hp,result}},turns_played,duration_seconds}`.
    """
    body = {
        "room_id": room_id,
        "winner_id": winner_id,
        "result_data": result_data,
        "finished_at": iso_utc(at_s),
    }
    return _put(Call.FINISHED, body)


def aborted(room_id: str, *, reason: str, at_s: float) -> Callback:
    """It ended otherwise: `join_timeout`, `all_disconnected`, `admin_terminated` or `process_error`."""
    return _put(Call.ABORTED, {"room_id": room_id, "reason": reason, "aborted_at": iso_utc(at_s)})


def _post(call: Call, body: dict[str, Any], life: str) -> Callback:
    return Callback(call, body["room_id"], "POST", "/rooms", orjson.dumps(body), life)


def _put(call: Call, body: dict[str, Any]) -> Callback:
    return Callback(call, body["room_id"], "PUT", f"/rooms/{body['room_id']}/{call}", orjson.dumps(body))
