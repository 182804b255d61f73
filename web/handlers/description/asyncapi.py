"""`/asyncapi.json`: the events of streams and the messages of channels, as AsyncAPI 3.0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from web.handlers.description.openapi import JSON_TYPE, Json, Part, schemas
from web.handlers.description.rooms import RoomRecord
from web.handlers.description.stats import Totals

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOM_ID: Final = {"description": "1 to 64 of A-Z a-z 0-9 _ -"}
TEXT: Final = {"type": "string"}
WHOLE: Final = {"type": "integer"}
REASON: Final = {"type": "object", "properties": {"reason": TEXT}, "required": ["reason"]}


def _object(*optional: str, **required: Json) -> Json:
    """An object with the properties `required`, and perhaps those named in `optional`."""
    return {
        "type": "object",
        "properties": required | {name: {} for name in optional},
        "required": list(required),
    }


def _schema(model: str) -> Json:
    return {"$ref": f"#/components/schemas/{model}"}


_PLAYER: Final = _object("reason", user_id=TEXT, display_name=TEXT)
_NO_ROOM: Final = {
    **_object(room_id=TEXT, version={"const": 0}, updated_at={"type": "null"}, state={"type": "null"}),
    "description": "There is no such room yet, or no more.",
}
_RECORD: Final[Json] = {"anyOf": [_schema("RoomRecord"), _NO_ROOM]}
_RESET: Final = _object(room_id=TEXT, previous=TEXT)

# By channel: its address, what it is, and its messages, each with its summary and payload.
_FROM_SERVER: Final[dict[str, tuple[str, str, dict[str, tuple[str, Json]]]]] = {
    "roomStream": (
        "/api/rooms/{room_id}/stream",
        "Server-sent events of a room. An event's `id` is the record's `ETag`; slow ones skip to the newest.",
        {
            "state": ("The record: at once, then with each write.", _RECORD),
            "reset": ("What was seen before does not lead to what comes next.", _RESET),
            "viewers": (
                "With `viewers=1`: how many listen, at once and then on change, at most once a second.",
                _object(room_id=TEXT, viewers=WHOLE),
            ),
            "drain": ("The server stops; come back after `retry_ms`.", _object(retry_ms=WHOLE)),
        },
    ),
    "statsStream": (
        "/players/{steamid}/stats/stream",
        "Server-sent events of a player's totals. `id` of an event is the version.",
        {
            "stats": ("The totals: at once, then with each change.", _schema("Totals")),
            "drain": ("The server stops; come back after `retry_ms`.", _object(retry_ms=WHOLE)),
        },
    ),
    "stateTopic": (
        "state:{room_id}",
        "Phoenix topic of a room. The reply to a join is the record; join with `last_event_id` to resume.",
        {
            "state": ("The record, with `id`, after each write.", _RECORD),
            "reset": ("What was seen before does not lead to what comes next.", _RESET),
            "presence_state": ("Who is here, for joins with `presence`.", {"type": "object"}),
            "presence_diff": ("Who has come and gone since.", _object(joins={}, leaves={})),
        },
    ),
    "matchTopic": (
        "room:{room_id}",
        "Phoenix topic of a match, for its players. The reply to a join has the player's own view.",
        {
            "player:joined": (
                "A player has joined.",
                _object(user_id=TEXT, display_name=TEXT, players_joined=WHOLE, players_required=WHOLE),
            ),
            "player:disconnected": ("A player's connection is gone.", _PLAYER),
            "player:reconnected": ("A player is back.", _PLAYER),
            "player:left": ("A player has left.", _PLAYER),
            "game:started": (
                "The game has begun.",
                _object(
                    "game_type",
                    "players",
                    "first_turn",
                    "turn_time_limit",
                    "your_hand",
                    "your_hp",
                    "opponent_hp",
                ),
            ),
            "game:hand_updated": ("The receiver's own hand.", _object("hand", deck_count=WHOLE)),
            "game:action_applied": (
                "A move counts.",
                _object("card", "effects", actor=TEXT, action=TEXT, turn_number=WHOLE),
            ),
            "game:turn_changed": (
                "It is another's turn.",
                _object("drawn_card", current_turn=TEXT, turn_number=WHOLE, turn_time_limit=WHOLE),
            ),
            "game:turn_skipped": (
                "A player took too long.",
                _object(skipped_player=TEXT, reason=TEXT, next_turn=TEXT, turn_number=WHOLE),
            ),
            "game:ended": (
                "The match is over.",
                _object("winner", "final_state", reason=TEXT, turns_played=WHOLE, duration_seconds=WHOLE),
            ),
            "game:aborted": ("The match ended otherwise.", _object(reason=TEXT, message=TEXT)),
            "chat:new_message": (
                "A player says something.",
                _object(message_id=TEXT, sender_id=TEXT, sender_name=TEXT, content=TEXT, sent_at=TEXT),
            ),
            "presence_state": ("Who is here.", {"type": "object"}),
            "presence_diff": ("Who has come and gone.", _object(joins={}, leaves={})),
        },
    ),
}
_FROM_PLAYER: Final[dict[str, tuple[str, Json, Json]]] = {
    "game:action": (
        "Make a move; the nonce makes a repeat harmless.",
        _object("card_id", action=TEXT, nonce=TEXT),
        _object("action_id", "reason", accepted={"type": "boolean"}),
    ),
    "chat:send": (
        "Say something to the others.",
        _object(content={"type": "string", "maxLength": 500}),
        _object("message_id", "reason", sent={"type": "boolean"}),
    ),
    "room:leave": ("Leave; gives up while playing.", {"type": "object"}, {"type": "object"}),
}
MATCH: Final = "matchTopic"


def asyncapi(version: str) -> Json:
    """The whole document."""
    channels: Json = {}
    messages: Json = {}
    operations: Json = {}
    for name, (address, text, events) in _FROM_SERVER.items():
        parameter = address[address.index("{") + 1 : address.index("}")]
        ids = {event: f"{name}.{event.replace(':', '_')}" for event in events}
        for event, (summary, payload) in events.items():
            messages[ids[event]] = _message(event, summary, payload)
        channels[name] = {
            "address": address,
            "description": text,
            "parameters": {parameter: ROOM_ID if parameter == "room_id" else {}},
            "messages": {key: {"$ref": f"#/components/messages/{key}"} for key in ids.values()},
        }
        operations[f"send.{name}"] = _operation("send", name, ids.values())
    for event, (summary, payload, reply) in _FROM_PLAYER.items():
        key = f"{MATCH}.{event.replace(':', '_')}"
        messages |= {
            key: _message(event, summary, payload),
            f"{key}.reply": _message("phx_reply", summary, reply),
        }
        channels[MATCH]["messages"] |= {
            one: {"$ref": f"#/components/messages/{one}"} for one in (key, f"{key}.reply")
        }
        operations[f"receive.{key}"] = _operation("receive", MATCH, [key]) | {
            "reply": {
                "channel": {"$ref": f"#/channels/{MATCH}"},
                "messages": [{"$ref": f"#/channels/{MATCH}/messages/{key}.reply"}],
            }
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Greenroom",
            "version": version,
            "description": "Events of streams (SSE), messages of Phoenix channels (`/socket`).",
        },
        "defaultContentType": JSON_TYPE,
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": schemas((Part({}, given=(RoomRecord, Totals)),)),
        },
    }


def _message(name: str, summary: str, payload: Json) -> Json:
    return {"name": name, "summary": summary, "payload": payload}


def _operation(action: str, channel: str, keys: Iterable[str]) -> Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{key}"} for key in keys],
    }
