"""The calls to the API server, as an OpenAPI document of their own: what such a server has to serve."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from web.handlers.automation_api import AppliedDecision
from web.handlers.description.openapi import Json, Operation, Part, document, header, part, path

TAG: Final = "callbacks"


class RoomReport(BaseModel):
    """A room is up, or could not be made."""

    room_id: str
    node_name: str
    status: Literal["ready", "failed"]
    reason: str | None = Field(None, description="Of `failed`, in snake_case.")


class Started(BaseModel):
    """Every expected player has joined."""

    room_id: str
    started_at: datetime
    player_ids: list[str]


class PlayerResult(BaseModel):
    """How a player came out."""

    hp: int
    result: Literal["winner", "loser", "draw"]


class ResultData(BaseModel):
    """How a match went. A game may add to it."""

    players: dict[str, PlayerResult]
    turns_played: int
    duration_seconds: int


class Finished(BaseModel):
    """The rules say it is over."""

    room_id: str
    winner_id: str | None
    result_data: ResultData
    finished_at: datetime


class Aborted(BaseModel):
    """It ended in any other way."""

    room_id: str
    reason: Literal["join_timeout", "all_disconnected", "admin_terminated", "process_error"]
    aborted_at: datetime


class Acknowledged(BaseModel):
    """The API server knows."""

    acknowledged: bool
    room_status: str | None = None
    game_result_id: Any = None


class TokenCheck(BaseModel):
    """A user's token, to be judged."""

    token: str


class TokenVerdict(BaseModel):
    """Whose token it is. A `status` other than `active` is refused."""

    valid: bool
    user_id: str | None = None
    display_name: str | None = None
    role: str | None = None
    status: str | None = None
    reason: str | None = None


_ID: Final = path("id", {"type": "string"}, "The room.")
_KEY: Final = header("Idempotency-Key", {"type": "string", "format": "uuid"}, "The same for the same call.")


def _call(id: str, summary: str, body: type[BaseModel], *parameters: Json) -> Operation:
    return Operation(
        id=id,
        summary=summary,
        tag=TAG,
        security=("internal",),
        parameters=(*parameters, _KEY),
        body=body,
        ok={
            200: ("With `acknowledged: true` the call is done.", Acknowledged),
            401: ("The next key of `INTERNAL_API_KEY` is tried, once.", None),
            404: ("The room is unknown: it ends quietly.", None),
            429: ("Asked again after `Retry-After`, 30 s at most.", None),
            500: ("As any 5xx and any silence of 5 s: asked again, three times in all.", None),
        },
    )


HOOKS: Final = part(
    {
        "decision_applied": {
            "post": Operation(
                id="decision_applied",
                summary="A decision has been applied (with `DECISION_HOOK_URL`)",
                tag="hooks",
                parameters=(
                    header("Idempotency-Key", {"type": "string"}, "The decision's `requestId`."),
                    header("webhook-id", {"type": "string"}, "The same."),
                    header("webhook-timestamp", {"type": "integer"}, "Unix seconds."),
                    header("webhook-signature", {"type": "string"}, "With `DECISION_HOOK_SECRET`."),
                ),
                body=AppliedDecision,
                ok={
                    200: ("As any 2xx: it is settled.", None),
                    400: ("As 410, 413, 415 and 422: it is given up.", None),
                    500: ("As anything else and any silence of 10 s: told again, for about a day.", None),
                },
            )
        }
    }
)


def callbacks(version: str) -> Json:
    """The document: calls below `API_BASE_URL`, and the hook as a webhook."""
    calls = part(
        {
            "/rooms": {"post": _call("room_report", "A room is ready, or has failed", RoomReport)},
            "/rooms/{id}/started": {"put": _call("started", "A match has begun", Started, _ID)},
            "/rooms/{id}/finished": {"put": _call("finished", "A match is over", Finished, _ID)},
            "/rooms/{id}/aborted": {"put": _call("aborted", "A match ended otherwise", Aborted, _ID)},
            "/auth/verify": {
                "post": Operation(
                    id="verify",
                    summary="Judge a user's token (with `AUTH_VERIFY=remote`)",
                    tag=TAG,
                    security=("internal",),
                    body=TokenCheck,
                    ok={200: ("The verdict.", TokenVerdict)},
                )
            },
        }
    )
    said = document(
        "Greenroom: calls to the API server",
        "What an API server serves below `API_BASE_URL`. Calls of a room come in order, each at least once.",
        version,
        (calls, Part({}, HOOKS.taken)),
    )
    said["webhooks"] = HOOKS.paths
    said["components"]["securitySchemes"] = {
        "internal": {"type": "apiKey", "in": "header", "name": "X-Internal-Api-Key"}
    }
    return said
