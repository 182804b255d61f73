"""Parses and checks a creation job: bytes in, a job or the reason for its refusal out. Pure.

```json
{"room_id":"uuid","game_type_id":"uuid","player_ids":["u1","u2"],
 "config":{"player_count":2,"turn_time_limit":60,"game_rules":"simple_card_battle"},
 "enqueued_at":"2026-02-10T01:00:00Z"}
```
`turn_time_limit` (60) and `game_rules` (`simple_card_battle`) have defaults,
`enqueued_at` may be absent, everything else must be there. Keys not named here are kept in `config` for the
rules and ignored elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final, NoReturn, TypeVar

import orjson

from actors.core import TRACEPARENT, Trace, parse_iso_8601, read_traceparent
from actors.rooms import is_room_id

T = TypeVar("T")

DEFAULT_RULES: Final = "simple_card_battle"
DEFAULT_TURN_TIME_S: Final = 60.0
LONGEST_TURN_TIME_S: Final = 86_400.0
FEWEST_PLAYERS: Final = 2
MOST_PLAYERS: Final = 12
LONGEST_TEXT: Final = 200
# Of a player, in characters. Whoever connects with a longer id is turned away, so a
# match of theirs could never begin.
LONGEST_USER_ID: Final = 128

NAMED_ROOM: Final = re.compile(rb'"room_id"\s*:\s*"([A-Za-z0-9_-]{1,64})"')
# As Ruby ("… UTC"), Go ("… +0000 UTC m=+0.1") and Java ("…Z[UTC]") write times.
NAMED_ZONE: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[T ][\d:.]+) ?(Z|UTC|GMT|[+-]\d\d:?\d\d)"
    r"(?: [A-Z]{2,5}| [+-]\d{2,4})?(?: m=[+-][\d.]+)?(?:\[[^\]]*\])?",
    re.IGNORECASE,
)
# As JavaScript writes the offset of a Date.
OFFSET_OF_GMT: Final = re.compile(r"GMT(?=[+-]\d{4})")
# Unix seconds are below this until the year 5138, milliseconds above it since 1973.
LATEST_S: Final = 1e11

# Names of the rules this node has, each with the numbers of players it takes.
KnownRules = Mapping[str, Container[int]]


class Reason(StrEnum):
    """Why a job is among the dead letters."""

    BAD_JSON = "bad_json"
    MISSING_FIELD = "missing_field"
    BAD_FIELD = "bad_field"
    BAD_ROOM_ID = "bad_room_id"
    BAD_PLAYER_COUNT = "bad_player_count"
    UNKNOWN_GAME_RULES = "unknown_game_rules"
    # The ones above are said here, the ones below by the consumer.
    EXPIRED = "expired"
    REFUSED = "refused"
    OVER = "over"
    CONFLICT = "conflict"
    UNCONFIRMED = "unconfirmed"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class InvalidJob:
    """A payload that is no job.

    Attributes:
        reason: For programs.
        detail: For people.
        room_id: The room somebody waits for, where it can be read.
    """

    reason: Reason
    detail: str
    room_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreationJob:
    """A request for a match, checked.

    Attributes:
        room_id: `[A-Za-z0-9_-]{1,64}`.
        game_type_id: Opaque; the API server's.
        player_ids: Who may join: 2 to 12 different ones, as many as the rules take.
        game_rules: One of the known names.
        turn_time_limit_s: Seconds for one turn.
        config: As it came, for the rules.
        enqueued_at_s: Unix seconds, on the producer's clock; None if it does not say.
        trace: What its `traceparent` names, for the callbacks about the match.
    """

    room_id: str
    game_type_id: str
    player_ids: tuple[str, ...]
    game_rules: str
    turn_time_limit_s: float
    config: Mapping[str, Any]
    enqueued_at_s: float | None
    trace: Trace | None = None

    def asks_for_the_same(self, other: CreationJob) -> bool:
        """Whether both are the same match: the same players, in whatever order, and rules."""
        return self.game_rules == other.game_rules and set(self.player_ids) == set(other.player_ids)

    def age_s(self, now_s: float) -> float:
        """Seconds since it was pushed, at the Unix time `now_s`; 0 if it does not say."""
        return 0.0 if self.enqueued_at_s is None else now_s - self.enqueued_at_s


class _NoJob(Exception):
    """Carries a refusal out of the checks."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read_job(payload: bytes, known_rules: KnownRules) -> CreationJob | InvalidJob:
    """Check a payload from the queue. Never raises."""
    try:
        return _read(payload, known_rules)
    except _NoJob as refused:
        return InvalidJob(refused.reason, str(refused), room_id_of(payload))


def room_id_of(payload: bytes) -> str | None:
    """The room a payload is about, as far as it can be read; None if it names none, or no valid one."""
    try:
        job = orjson.loads(payload)
    except orjson.JSONDecodeError:
        job = None
    if isinstance(job, dict):
        room_id = job.get("room_id")
        return room_id if isinstance(room_id, str) and is_room_id(room_id) else None
    found = NAMED_ROOM.search(payload)
    return None if found is None else found[1].decode()


def _read(payload: bytes, known_rules: KnownRules) -> CreationJob:
    job = _object(payload)
    config = _field(job, "config", _mapping)
    rules = _optional(config, "game_rules", _text, DEFAULT_RULES)
    players = _field(job, "player_ids", _distinct_user_ids)
    room_id = _field(job, "room_id", _text, Reason.BAD_ROOM_ID)
    if not is_room_id(room_id):
        _refuse(Reason.BAD_ROOM_ID, "room_id must be 1 to 64 of A-Z, a-z, 0-9, _ and -")
    if rules not in known_rules:
        _refuse(Reason.UNKNOWN_GAME_RULES, f"no rules named {rules[:LONGEST_TEXT]!r} here")
    _check_count(len(players), _field(config, "player_count", _whole), known_rules[rules])
    return CreationJob(
        room_id=room_id,
        game_type_id=_field(job, "game_type_id", _text),
        player_ids=players,
        game_rules=rules,
        turn_time_limit_s=_optional(config, "turn_time_limit", _turn_time, DEFAULT_TURN_TIME_S),
        config=config,
        enqueued_at_s=_enqueued_at(job),
        trace=read_traceparent(job.get(TRACEPARENT)),
    )


def _object(payload: bytes) -> dict[str, Any]:
    try:
        job = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        _refuse(Reason.BAD_JSON, str(error))
    if not isinstance(job, dict):
        _refuse(Reason.BAD_JSON, "not an object")
    return job


def _check_count(players: int, wanted: int, allowed: Container[int]) -> None:
    if not FEWEST_PLAYERS <= players <= MOST_PLAYERS:
        _refuse(Reason.BAD_PLAYER_COUNT, f"{players} players; {FEWEST_PLAYERS} to {MOST_PLAYERS} can play")
    if players != wanted:
        _refuse(Reason.BAD_PLAYER_COUNT, f"{players} player_ids, but player_count is {wanted}")
    if players not in allowed:
        _refuse(Reason.BAD_PLAYER_COUNT, f"the rules do not take {players} players")


def _refuse(reason: Reason, detail: str) -> NoReturn:
    raise _NoJob(reason, detail)


# -- fields: a check returns the value, or None when it is of no use ------------------


def _field(
    where: Mapping[str, Any], name: str, check: Callable[[Any], T | None], reason: Reason = Reason.BAD_FIELD
) -> T:
    if name not in where:
        _refuse(Reason.MISSING_FIELD, f"{name} is missing")
    value = check(where[name])
    if value is None:
        _refuse(reason, f"{name} is not what it should be")
    return value


def _optional(where: Mapping[str, Any], name: str, check: Callable[[Any], T | None], default: T) -> T:
    return default if where.get(name) is None else _field(where, name, check)


def _mapping(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _text(value: Any, longest: int = LONGEST_TEXT) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= longest else None


def _distinct_user_ids(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not all(_text(item, LONGEST_USER_ID) for item in value):
        return None
    return tuple(value) if len(set(value)) == len(value) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _turn_time(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 < value <= LONGEST_TURN_TIME_S else None


def _enqueued_at(job: Mapping[str, Any]) -> float | None:
    return None if job.get("enqueued_at") in (None, "") else _field(job, "enqueued_at", _unix_time)


def _unix_time(value: Any) -> float | None:
    """Unix seconds of a time in a usual form.

    ISO 8601 or RFC 3339, in either case, with a leap second or without an offset (which means UTC);
    the date of RFC 9110; as Ruby, Go, Java and JavaScript print times; Unix seconds, or milli-,
    micro- or nanoseconds, as a number or its text.
    """
    if isinstance(value, str):
        text = value.strip()
        parsed = _of_iso(text) if text[:1].isdigit() else _of_http_date(text)
        return _of_number(text) if parsed is None else parsed
    return None if isinstance(value, bool) else _of_number(value)


def _of_iso(text: str) -> float | None:
    named = NAMED_ZONE.fullmatch(text)
    if named is not None:
        text = named[1] + (named[2] if named[2][0] in "+-" else "+00:00")
    time = parse_iso_8601(text)
    return None if time is None else _seconds(time)


def _seconds(time: datetime) -> float | None:
    try:
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except OverflowError:
        return None


def _of_http_date(text: str) -> float | None:
    try:
        return _seconds(parsedate_to_datetime(OFFSET_OF_GMT.sub("", text)))
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _of_number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not 0 <= number < LATEST_S * 1e9:
        return None
    while number >= LATEST_S:
        number /= 1000
    return number
