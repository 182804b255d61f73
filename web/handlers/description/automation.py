"""GRPS automation, described by the models that read and write its bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actors.automation.leaderboard import MAX_LIMIT
from actors.automation.policy import INT64_MAX
from actors.automation.snapshot import BOOLEANS, MAX_KEY, BatchRequest, DecisionRequest, Snapshot
from web.handlers.automation_api import (
    BatchAnswer,
    DecidedAnswer,
    DecisionsAnswer,
    ForbiddenAnswer,
    InvalidAnswer,
    LiveAnswer,
    PlayerAnswer,
    RecordsAnswer,
    SnapshotAnswer,
    StoredDecisionAnswer,
    TopAnswer,
)
from web.handlers.description.openapi import Operation, header, part, path, query
from web.handlers.paging import CURSOR_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from web.handlers.description.openapi import Json

TAG: Final = "automation"
USER_ID: Final = {"type": "integer", "minimum": 1, "maximum": INT64_MAX}
SWITCH: Final = {"type": "string", "enum": list(BOOLEANS)}
LATER: Final = ("busy", "database_unavailable", "timeout")


def _ok(model: type[BaseModel], text: str) -> Mapping[int, tuple[str, type[BaseModel] | str | None]]:
    return {200: (text, model), 422: ("What is wrong, place by place.", InvalidAnswer)}


def _post(id: str, summary: str, body: type[BaseModel], ok: type[BaseModel], *headers: Json) -> Operation:
    return Operation(
        id=id,
        summary=summary,
        tag=TAG,
        security=("key", ""),
        parameters=headers,
        body=body,
        ok={**_ok(ok, "As asked."), 403: ("The actor may not have it applied.", ForbiddenAnswer)},
        refusals={
            401: ("unauthorized",),
            404: ("not_found", "player_not_found"),
            429: ("rate_limited",),
            500: ("recording_failed",),
            503: (*LATER, "too_many_players"),
        },
    )


def _limit(default: int) -> Json:
    schema = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": default}
    return query("limit", schema, "How many lines.")


PART: Final = part(
    {
        "/health/live": {
            "get": Operation(
                id="live",
                summary="Ask whether the process answers",
                tag=TAG,
                ok={200: ("It does.", LiveAnswer)},
            )
        },
        "/roblox/events/player-activity": {
            "post": _post(
                "player_activity",
                "Record one player's state, and decide if asked to",
                Snapshot,
                SnapshotAnswer,
                header("x-grps-evaluate", SWITCH, "Answer with a decision."),
                header("x-grps-apply", SWITCH, "Carry the decision out."),
                header("x-grps-actor", USER_ID, "Who is behind it."),
                header(
                    "x-roblox-experience",
                    {"type": "string", "maxLength": MAX_KEY},
                    "Where the snapshot was taken.",
                ),
            )
        },
        "/automation/decisions": {
            "get": Operation(
                id="decisions",
                summary="Read stored decisions, newest first",
                tag=TAG,
                security=("key", ""),
                parameters=(
                    query("userId", USER_ID, "Whose; of all players without it."),
                    _limit(25),
                    query("cursor", USER_ID, "Where the page before ended: from its `Link` header."),
                ),
                ok=_ok(DecisionsAnswer, "A page."),
                refusals={401: ("unauthorized",), 404: ("not_found",), 503: LATER},
            ),
            "post": _post("decide", "Decide about one player", DecisionRequest, DecidedAnswer),
        },
        "/automation/decisions:batch": {
            "post": Operation(
                id="decide_many",
                summary="Decide about many players, or all",
                tag=TAG,
                security=("key", ""),
                body=BatchRequest,
                ok=_ok(BatchAnswer, "An outcome for each player."),
                refusals={401: ("unauthorized",), 404: ("not_found",), 503: LATER},
            )
        },
        "/automation/decisions/{requestId}": {
            "get": Operation(
                id="decision",
                summary="Read one stored decision",
                tag=TAG,
                security=("key", ""),
                parameters=(
                    path("requestId", {"type": "string", "minLength": 1, "maxLength": 36}, "Of its answer."),
                ),
                ok={200: ("The decision.", StoredDecisionAnswer)},
                refusals={401: ("unauthorized",), 404: ("not_found", "decision_not_found"), 503: LATER},
            )
        },
        "/players/{userId}": {
            "get": Operation(
                id="player",
                summary="Read one player",
                tag=TAG,
                parameters=(path("userId", USER_ID, "The Roblox user."),),
                ok=_ok(PlayerAnswer, "The player."),
                refusals={404: ("player_not_found",), 503: LATER},
            )
        },
        "/leaderboard/top": {
            "get": Operation(
                id="top",
                summary="Read players by points",
                tag=TAG,
                parameters=(
                    _limit(25),
                    query(
                        "cursor",
                        {"type": "string", "pattern": CURSOR_PATTERN},
                        "Where the page before ended: from its `Link` header.",
                    ),
                ),
                ok=_ok(TopAnswer, "A page."),
                refusals={503: LATER},
            )
        },
        "/leaderboard/records": {
            "get": Operation(
                id="records",
                summary="Read the leaders of each count",
                tag=TAG,
                parameters=(_limit(5),),
                ok=_ok(RecordsAnswer, "The leaders."),
                refusals={503: LATER},
            )
        },
    }
)
