"""Rooms and their streams, described."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from web.handlers.description.openapi import SSE_TYPE, Operation, header, part, path, query
from web.handlers.state_change import MERGE_PATCH

ROOM_ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
ETAG: Final = {"type": "string"}
LAST_EVENT_ID: Final = {"type": "string", "maxLength": 64}
_VIEWERS: Final = query("viewers", {"type": "string", "enum": ["1"]}, "Also tell how many listen.")
TAG: Final = "rooms"


class RoomRecord(BaseModel):
    """A room as it is: every event of its stream is one, too."""

    room_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    version: int = Field(ge=1, description="1 for the first write of an epoch, then one more each.")
    updated_at: datetime
    state: dict[str, Any] | list[Any]


class RoomWrite(BaseModel):
    """What a room is to become. Unknown keys are ignored."""

    model_config = ConfigDict(extra="allow")

    state: dict[str, Any] | list[Any] = Field(description="Kept as the same JSON value.")
    client_id: str | None = Field(None, description="For whoever reads the request on its way; not kept.")
    client_ts: datetime | None = Field(None, description="As `client_id`.")


class RoomPatch(BaseModel):
    """What changes: null removes a member, an object is merged, anything else replaces (RFC 7396)."""

    model_config = ConfigDict(extra="allow")


class RoomIncrement(BaseModel):
    """What is added to a number of the state."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(description="A JSON Pointer (RFC 6901) to a number that is there.")
    by: int | float = Field(1, description="May be negative or a fraction.")


class StreamChange(BaseModel):
    """Which rooms a stream is to have."""

    model_config = ConfigDict(extra="forbid")

    add: list[str] = Field([], max_length=100)
    remove: list[str] = Field([], max_length=100)


class StreamRooms(BaseModel):
    """A stream of several rooms."""

    stream_id: str
    rooms: list[str]


class RoomRow(BaseModel):
    """A room in the list."""

    room_id: str
    version: int
    updated_at: datetime
    streams: int = Field(ge=0, description="How many watch it.")
    kind: Literal["plain", "match"]


class RoomPage(BaseModel):
    """A page of the list."""

    rooms: list[RoomRow]
    next_cursor: str | None


_RECORD: Final = {
    "room_id": "board",
    "version": 1,
    "updated_at": "2026-02-10T01:00:00.000Z",
    "state": {"hello": "world"},
}
_ID: Final = path("id", ROOM_ID, "The room.")
# Without `ROOM_AUTH=token` only a room's secret forbids anything.
_TOKEN: Final = {401: ("unauthorized",), 403: ("forbidden",)}
_INVALID_ID: Final = {422: ("invalid_room_id",)}

_IF_MATCH: Final = header("If-Match", ETAG, 'An `ETag`, a bare `"<version>"`, or `*`: the room must exist.')
_SECRET: Final = header("X-Room-Secret", {"type": "string", "maxLength": 256}, "Of a room that has one.")


def _change_refusals(*codes: str) -> dict[int, tuple[str, ...]]:
    return {
        **_TOKEN,
        404: ("room_not_found",),
        409: ("room_exists", "room_is_authoritative"),
        412: ("version_mismatch",),
        413: ("payload_too_large",),
        422: ("invalid_room_id", "invalid_room_secret", *codes),
        503: ("busy", "room_down", "too_much_state", "store_unavailable", "outcome_unknown"),
    }


PART: Final = part(
    {
        "/api/rooms/{id}": {
            "get": Operation(
                id="get_room",
                summary="Read a room's record",
                tag=TAG,
                security=("token", ""),
                parameters=(_ID, header("If-None-Match", ETAG, "Answer 304 if this is still its `ETag`.")),
                ok={200: ("The record, with its `ETag`.", RoomRecord), 304: ("It has not changed.", None)},
                refusals={**_TOKEN, 404: ("room_not_found",), **_INVALID_ID},
                answer=_RECORD,
            ),
            "put": Operation(
                id="put_room",
                summary="Write a room: the last write wins, unless a condition is given",
                tag=TAG,
                security=("token", ""),
                parameters=(
                    _ID,
                    _IF_MATCH,
                    header("If-None-Match", {"type": "string", "enum": ["*"]}, "Only create."),
                    _SECRET,
                    header(
                        "Idempotency-Key",
                        {"type": "string", "pattern": "^[!-~]{1,64}$"},
                        "The repeat of a write gets the first outcome and writes nothing.",
                    ),
                ),
                body=RoomWrite,
                example={"state": {"hello": "world"}},
                answer=_RECORD,
                ok={200: ("The new record, with its `ETag`.", RoomRecord)},
                refusals={
                    **_TOKEN,
                    409: ("room_exists", "room_is_authoritative", "superseded"),
                    412: ("version_mismatch",),
                    422: (
                        "invalid_room_id",
                        "invalid_state",
                        "invalid_client_id",
                        "invalid_client_ts",
                        "invalid_room_secret",
                        "invalid_idempotency_key",
                        "idempotency_mismatch",
                    ),
                    429: ("rate_limited",),
                    503: (
                        "busy",
                        "room_down",
                        "too_many_rooms",
                        "too_much_state",
                        "store_unavailable",
                        "outcome_unknown",
                    ),
                },
            ),
            "patch": Operation(
                id="patch_room",
                summary="Change parts of a room's state",
                tag=TAG,
                security=("token", ""),
                parameters=(_ID, _IF_MATCH, _SECRET),
                body=RoomPatch,
                body_type=MERGE_PATCH,
                example={"hello": "again"},
                ok={200: ("The new record, with its `ETag`.", RoomRecord)},
                refusals={**_change_refusals("invalid_state"), 415: ("unsupported_media_type",)},
            ),
            "delete": Operation(
                id="delete_room",
                summary="Remove a room",
                tag=TAG,
                parameters=(_ID,),
                security=("admin",),
                ok={204: ("It is gone; its streams hear version 0 and stay open.", None)},
                refusals={
                    401: ("unauthorized",),
                    404: ("room_not_found", "not_found"),
                    409: ("room_is_authoritative",),
                    503: ("busy", "store_unavailable", "outcome_unknown"),
                    **_INVALID_ID,
                },
            ),
        },
        "/api/rooms/{id}/increment": {
            "post": Operation(
                id="increment_room",
                summary="Add to a number of a room's state",
                tag=TAG,
                security=("token", ""),
                parameters=(_ID, _IF_MATCH, _SECRET),
                body=RoomIncrement,
                example={"path": "/scores/ada", "by": 1},
                ok={200: ("The new record, with its `ETag`.", RoomRecord)},
                refusals=_change_refusals("invalid_path", "invalid_increment"),
            ),
        },
        "/api/rooms/{id}/stream": {
            "get": Operation(
                id="watch_room",
                summary="Watch a room: its record now, and each one that follows",
                tag=TAG,
                security=("token", ""),
                parameters=(
                    _ID,
                    header("Last-Event-ID", LAST_EVENT_ID, "The last event seen; resumes there."),
                    query("last_event_id", LAST_EVENT_ID, "The same, for a first connect."),
                    _VIEWERS,
                ),
                ok={200: ("Server-sent events; `/asyncapi.json` describes them.", SSE_TYPE)},
                refusals={
                    **_TOKEN,
                    429: ("too_many_streams",),
                    503: ("too_many_streams", "draining", "store_unavailable"),
                    **_INVALID_ID,
                },
            ),
        },
        "/api/stream": {
            "get": Operation(
                id="watch_rooms",
                summary="Watch up to 100 rooms on one stream",
                tag=TAG,
                security=("token", ""),
                parameters=(
                    query(
                        "room", {"type": "array", "items": ROOM_ID, "minItems": 1, "maxItems": 100}, "Rooms."
                    ),
                    header("Last-Event-ID", {"type": "string"}, "The last event seen; resumes there."),
                    query("last_event_id", {"type": "string"}, "The same, for a first connect."),
                    _VIEWERS,
                ),
                ok={200: ("Server-sent events: `open`, then those of each room.", SSE_TYPE)},
                refusals={
                    **_TOKEN,
                    422: ("invalid_rooms", "invalid_room_id"),
                    429: ("too_many_streams",),
                    503: ("too_many_streams", "draining", "store_unavailable"),
                },
            ),
        },
        "/api/streams/{stream_id}": {
            "post": Operation(
                id="change_stream",
                summary="Add rooms to a stream, and remove others",
                tag=TAG,
                security=("token", ""),
                parameters=(path("stream_id", {"type": "string"}, "As told by `open`."),),
                body=StreamChange,
                example={"add": ["a"], "remove": ["b"]},
                ok={200: ("The rooms of the stream now.", StreamRooms)},
                refusals={
                    **_TOKEN,
                    404: ("stream_not_found",),
                    422: ("invalid_change", "invalid_rooms", "invalid_room_id"),
                    503: ("too_many_streams", "store_unavailable", "outcome_unknown"),
                },
            ),
        },
        "/api/rooms": {
            "get": Operation(
                id="list_rooms",
                summary="List all rooms",
                tag=TAG,
                security=("admin",),
                parameters=(
                    query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "100 if absent."),
                    query("cursor", {"type": "string"}, "`next_cursor` of the page before."),
                ),
                ok={200: ("A page, in the order of the ids.", RoomPage)},
                refusals={
                    401: ("unauthorized",),
                    422: ("invalid_limit", "invalid_cursor"),
                    503: ("store_unavailable",),
                },
            ),
        },
    }
)
