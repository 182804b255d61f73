"""The requests of game servers, validated: a player's state in the body, instructions in the headers.

Numbers must be whole and within the columns that keep them. Strings, those in `metadata` too, must not
hold NUL: PostgreSQL cannot store it, and of a JSON column that has it no key can be read. Unknown keys
are ignored and not kept.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from actors.automation import times
from actors.automation.policy import INT32_MAX, INT64_MAX
from actors.core import parse_iso_8601

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_METADATA_BYTES: Final = 16_384
MAX_BODY_BYTES: Final = 65_536
MAX_KEY: Final = 128
MAX_BATCH: Final = 1000
# What a signed 64-bit number takes, and what int() reads in no time.
MAX_DIGITS: Final = 19
BOOLEANS: Final = {
    "true": True, "1": True, "yes": True, "on": True,
    "false": False, "0": False, "no": False, "off": False,
}  # fmt: skip


Detail = list[dict[str, Any]]


class Invalid(Exception):
    """A request that fails validation.

    Attributes:
        detail: One `{loc, msg, type}` per fault; `loc` begins with `body` or `header`.
    """

    def __init__(self, detail: Detail) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in detail))
        self.detail = detail

    def to_json(self) -> dict[str, Any]:
        """The body of the 422."""
        return {"error": "validation_failed", "message": str(self), "detail": self.detail}


def body_detail(error: ValidationError) -> Detail:
    """Pydantic's errors without the input: bodies do not belong in answers or logs."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return [{"loc": ["body", *fault["loc"]], "msg": fault["msg"], "type": fault["type"]} for fault in faults]


def header_fault(name: str, message: str, kind: str) -> dict[str, Any]:
    """One fault of one header."""
    return {"loc": ["header", name], "msg": message, "type": kind}


# `json.dumps` makes an encoder for each call.
_as_json: Final = json.JSONEncoder(allow_nan=False).encode


def _null_if_empty(value: object) -> object:
    return None if value == "" else value


def _object_if_empty_list(value: object) -> object:
    # Lua has one kind of table: Roblox's JSONEncode writes an empty one as [].
    return {} if value == [] else value


def _whole(value: object) -> object:
    # JSON has one kind of number, and so has Lua: 7.0 is a way of writing 7.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _with_leap_second(value: object) -> object:
    # Pydantic knows no second 60 either.
    return (parse_iso_8601(value) or value) if isinstance(value, str) and ":60" in value else value


def _bounded(metadata: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
    if metadata is None:
        return None
    # Raises ValueError by itself for NaN, Infinity and integers past Python's digit limit.
    encoded = _as_json(metadata)
    if len(encoded) > MAX_METADATA_BYTES:
        msg = f"must not be larger than {MAX_METADATA_BYTES} bytes as JSON"
        raise ValueError(msg)
    # The text may also speak of NUL, with a backslash of its own; nearly none does either.
    if "\\u0000" in encoded and _holds_nul(metadata):
        raise ValueError("must not hold NUL")
    return metadata


def _holds_nul(value: JsonValue) -> bool:
    """Whether a string or a key anywhere in it has a NUL."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(map(_holds_nul, value)) or any(map(_holds_nul, value.values()))
    return isinstance(value, list) and any(map(_holds_nul, value))


NO_NUL: Final = r"^[^\x00]*$"
UserId = Annotated[int, Field(strict=True, ge=1, le=INT64_MAX), BeforeValidator(_whole)]
Count = Annotated[int, Field(strict=True, ge=0, le=INT32_MAX), BeforeValidator(_whole)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_NUL)]
MaybeName = Annotated[Name | None, BeforeValidator(_null_if_empty)]
Key = Annotated[str, StringConstraints(max_length=MAX_KEY, pattern=NO_NUL)]
ExperienceId = Annotated[int, Field(strict=True, ge=0, le=INT64_MAX), BeforeValidator(_whole)] | Key
Moment = Annotated[datetime, BeforeValidator(_with_leap_second), AfterValidator(times.utc)]
MaybeMoment = Annotated[Moment | None, BeforeValidator(_null_if_empty)]
Metadata = Annotated[
    dict[str, JsonValue] | None, BeforeValidator(_object_if_empty_list), AfterValidator(_bounded)
]
Reason = Annotated[str, StringConstraints(max_length=400, pattern=NO_NUL)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class Experience(_Body):
    """Where in Roblox the snapshot was taken."""

    universe_id: ExperienceId | None = None
    place_id: ExperienceId | None = None
    server: Key | None = None


class Snapshot(_Body):
    """One player's whole state as a game server sees it.

    Attributes:
        rank: As the group says; when absent it follows from the points.
        captured_at: When it was taken. A snapshot older than the newest one applied is only kept.
    """

    user_id: UserId
    username: Name
    rank_points: Count
    kos: Count
    wos: Count
    display_name: MaybeName = None
    rank: MaybeName = None
    warnings: Count = 0
    recommendations: Count = 0
    punishment_status: MaybeName = None
    punishment_expires_at: MaybeMoment = None
    experience: Annotated[Experience | None, BeforeValidator(_object_if_empty_list)] = None
    metadata: Metadata = None
    captured_at: MaybeMoment = None

    def to_json(self) -> dict[str, Any]:
        """What is kept of it: camelCase, without the keys that were absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def payload(self) -> str:
        """`to_json` as text."""
        return self.model_dump_json(by_alias=True, exclude_unset=True)


class DecisionRequest(_Body):
    """A decision asked for over HTTP."""

    user_id: UserId
    actor_user_id: UserId | None = None
    apply: Annotated[bool, Field(strict=True)] = False
    reason: Reason | None = None


class BatchRequest(_Body):
    """Decisions asked for about many players, or all.

    Attributes:
        after: Continues where an answer ended: only players with larger ids.
    """

    user_ids: Annotated[list[UserId], Field(min_length=1, max_length=MAX_BATCH)] | None = None
    all: Annotated[bool, Field(strict=True)] = False
    after: UserId | None = None
    actor_user_id: UserId | None = None
    apply: Annotated[bool, Field(strict=True)] = False
    reason: Reason | None = None

    @model_validator(mode="after")
    def _names_players_once(self) -> Self:
        if (self.user_ids is None) != self.all:
            raise ValueError("either userIds or all must be given")
        return self


class Instructions(NamedTuple):
    """What the headers of a snapshot ask for. To apply includes to evaluate."""

    experience_key: str | None
    actor_user_id: int | None
    evaluate: bool
    apply: bool


Body = TypeVar("Body", bound=_Body)


def parse_snapshot(body: bytes, headers: Mapping[str, str]) -> tuple[Snapshot, Instructions]:
    """Read a snapshot request; header names must be lower-case.

    Raises:
        Invalid: With every fault of body and headers.
    """
    detail: Detail = []
    instructions = _instructions(headers, detail)
    snapshot = _parsed(Snapshot, body, detail)
    if snapshot is None or detail:
        raise Invalid(detail)
    if instructions.experience_key is None:
        instructions = instructions._replace(experience_key=_experience_key(snapshot.experience))
    return snapshot, instructions


def parse_decision_request(body: bytes) -> DecisionRequest:
    """Read the body of `POST /automation/decisions`.

    Raises:
        Invalid: With every fault.
    """
    detail: Detail = []
    if (request := _parsed(DecisionRequest, body, detail)) is None:
        raise Invalid(detail)
    return request


def parse_batch_request(body: bytes) -> BatchRequest:
    """Read the body of `POST /automation/decisions:batch`.

    Raises:
        Invalid: With every fault.
    """
    detail: Detail = []
    if (request := _parsed(BatchRequest, body, detail)) is None:
        raise Invalid(detail)
    return request


def _parsed(model: type[Body], body: bytes, detail: Detail) -> Body | None:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        detail += body_detail(error)
        return None


def _experience_key(experience: Experience | None) -> str | None:
    """`universe:place:server` with what is known of it, cut to the column."""
    if experience is None:
        return None
    parts = (experience.universe_id, experience.place_id, experience.server)
    return ":".join("" if part is None else str(part) for part in parts).rstrip(":")[:MAX_KEY] or None


def _instructions(headers: Mapping[str, str], detail: Detail) -> Instructions:
    apply = _boolean(headers, "x-grps-apply", detail)
    return Instructions(
        experience_key=_experience(headers, detail),
        actor_user_id=_actor(headers, detail),
        evaluate=_boolean(headers, "x-grps-evaluate", detail) or apply,
        apply=apply,
    )


def _boolean(headers: Mapping[str, str], name: str, detail: Detail) -> bool:
    if (value := headers.get(name)) is None:
        return False
    if (meant := BOOLEANS.get(value.strip().lower())) is None:
        detail.append(header_fault(name, f"Input should be one of {', '.join(BOOLEANS)}", "bool_parsing"))
        return False
    return meant


def _actor(headers: Mapping[str, str], detail: Detail) -> int | None:
    name = "x-grps-actor"
    if (value := headers.get(name)) is None:
        return None
    digits = value.strip()
    short = digits.isascii() and digits.isdecimal() and len(digits) <= MAX_DIGITS
    if short and 1 <= int(digits) <= INT64_MAX:
        return int(digits)
    detail.append(header_fault(name, "Input should be a Roblox user id", "int_parsing"))
    return None


def _experience(headers: Mapping[str, str], detail: Detail) -> str | None:
    name = "x-roblox-experience"
    value = headers.get(name, "").strip()
    if len(value) > MAX_KEY or not value.isprintable():
        detail.append(
            header_fault(name, f"Input should be at most {MAX_KEY} printable characters", "string_type")
        )
        return None
    return value or None
