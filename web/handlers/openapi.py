"""The OpenAPI document of the automation routes, made from the models that read and write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import models_json_schema

from actors.automation.leaderboard import MAX_LIMIT
from actors.automation.policy import INT64_MAX
from actors.automation.snapshot import BOOLEANS, MAX_KEY, DecisionRequest, Snapshot
from web.handlers.automation_api import (
    DecidedAnswer,
    DecisionsAnswer,
    ErrorAnswer,
    ForbiddenAnswer,
    InvalidAnswer,
    LiveAnswer,
    PlayerAnswer,
    RecordsAnswer,
    SnapshotAnswer,
    StoredDecisionAnswer,
    TopAnswer,
)
from web.handlers.paging import CURSOR_PATTERN

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.json_schema import JsonSchemaMode

TAKEN: Final[tuple[type[BaseModel], ...]] = (Snapshot, DecisionRequest)
GIVEN: Final[tuple[type[BaseModel], ...]] = (
    DecidedAnswer,
    DecisionsAnswer,
    ErrorAnswer,
    ForbiddenAnswer,
    InvalidAnswer,
    LiveAnswer,
    PlayerAnswer,
    RecordsAnswer,
    SnapshotAnswer,
    StoredDecisionAnswer,
    TopAnswer,
)
REASONS: Final = {
    "400": "The request cannot be understood.",
    "401": "The key is missing or wrong.",
    "404": "There is no such player or decision, or no key is configured.",
    "413": "The body is too large.",
    "415": "The body is not announced as JSON.",
    "500": "A fault of ours.",
    "503": "The database is away, or there is too much to do; `Retry-After` says when to try again.",
}
USER_ID: Final = {"type": "integer", "minimum": 1, "maximum": INT64_MAX}

Json = dict[str, Any]


def document() -> Json:
    """The whole document, OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Greenroom: GRPS automation",
            "version": "1",
            "description": "Player snapshots in, rank decisions out.",
        },
        "paths": {
            "/health/live": {"get": _read("live", "The process answers", LiveAnswer, (), ())},
            "/roblox/events/player-activity": {"post": _snapshot()},
            "/automation/decisions": {"get": _decisions(), "post": _decision()},
            "/automation/decisions/{requestId}": {"get": _stored_decision()},
            "/players/{userId}": {"get": _player()},
            "/leaderboard/top": {"get": _top()},
            "/leaderboard/records": {"get": _records()},
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-grps-api-key"}},
        },
    }


def _schemas() -> Json:
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        *((model, "validation") for model in TAKEN),
        *((model, "serialization") for model in GIVEN),
    ]
    _, schema = models_json_schema(wanted, ref_template="#/components/schemas/{model}")
    schemas: Json = schema["$defs"]
    return schemas


def _ref(model: type[BaseModel]) -> Json:
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}}


def _answers(ok: type[BaseModel], refusals: tuple[str, ...], *, checked: bool) -> Json:
    answers: Json = {"200": {"description": "As asked.", **_ref(ok)}}
    for status in ("400", *refusals, "413", "500"):
        answers[status] = {"description": REASONS[status], **_ref(ErrorAnswer)}
    if checked:
        answers["422"] = {"description": "What is wrong, place by place.", **_ref(InvalidAnswer)}
    return answers


def _read(
    name: str, summary: str, ok: type[BaseModel], parameters: tuple[Json, ...], refusals: tuple[str, ...]
) -> Json:
    return {
        "operationId": name,
        "summary": summary,
        "parameters": list(parameters),
        "responses": _answers(ok, refusals, checked=bool(parameters)),
    }


def _post(name: str, summary: str, body: type[BaseModel], ok: type[BaseModel], *headers: Json) -> Json:
    return {
        "operationId": name,
        "summary": summary,
        # The empty one: where no key is configured, none is asked for.
        "security": [{"key": []}, {}],
        "parameters": list(headers),
        "requestBody": {"required": True, **_ref(body)},
        "responses": _answers(ok, ("401", "404", "415", "503"), checked=True)
        | {"403": {"description": "The actor may not have it applied.", **_ref(ForbiddenAnswer)}},
    }


def _header(name: str, schema: Json, text: str) -> Json:
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": text}


def _query(name: str, schema: Json, text: str) -> Json:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def _limit(default: int) -> Json:
    schema = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": default}
    return _query("limit", schema, "How many lines.")


def _snapshot() -> Json:
    switch = {"type": "string", "enum": list(BOOLEANS)}
    return _post(
        "player_activity",
        "Record one player's state, and decide if asked to",
        Snapshot,
        SnapshotAnswer,
        _header("x-grps-evaluate", switch, "Answer with a decision."),
        _header("x-grps-apply", switch, "Carry the decision out."),
        _header("x-grps-actor", USER_ID, "Who is behind it."),
        _header(
            "x-roblox-experience", {"type": "string", "maxLength": MAX_KEY}, "Where the snapshot was taken."
        ),
    )


def _decision() -> Json:
    return _post("decide", "Decide about one player", DecisionRequest, DecidedAnswer)


def _with_key(operation: Json) -> Json:
    return operation | {"security": [{"key": []}, {}]}


def _decisions() -> Json:
    user = _query("userId", USER_ID, "Whose; of all players without it.")
    text = "Where the page before ended: from its `Link` header."
    cursor = _query("cursor", {"type": "integer", "minimum": 1, "maximum": INT64_MAX}, text)
    parameters = (user, _limit(25), cursor)
    refusals = ("401", "404", "503")
    return _with_key(
        _read("decisions", "Stored decisions, newest first", DecisionsAnswer, parameters, refusals)
    )


def _stored_decision() -> Json:
    schema = {"type": "string", "minLength": 1, "maxLength": 36}
    path = {"name": "requestId", "in": "path", "required": True, "schema": schema}
    refusals = ("401", "404", "503")
    return _with_key(_read("decision", "One stored decision", StoredDecisionAnswer, (path,), refusals))


def _player() -> Json:
    path = {"name": "userId", "in": "path", "required": True, "schema": USER_ID}
    return _read("player", "One player", PlayerAnswer, (path,), ("404", "503"))


def _top() -> Json:
    text = "Where the page before ended: from its `Link` header."
    cursor = _query("cursor", {"type": "string", "pattern": CURSOR_PATTERN}, text)
    return _read("top", "Players by points", TopAnswer, (_limit(25), cursor), ("503",))


def _records() -> Json:
    return _read("records", "The leaders of each count", RecordsAnswer, (_limit(5),), ("503",))
