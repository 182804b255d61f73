from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.matches import CreationJob, InvalidJob, Reason, read_job
from actors.rooms import is_room_id

CONFIG = {"player_count", "turn_time_limit", "game_rules"}
RULES = {"simple_card_battle": (2,), "any_number": range(2, 100)}


def job(**changes: Any) -> dict[str, Any]:
    """The example of the format, with changes; a value of `...` takes the field away."""
    config: dict[str, Any] = {"player_count": 2, "turn_time_limit": 60, "game_rules": "simple_card_battle"}
    fields: dict[str, Any] = {
        "room_id": "0c1e9d9e-8a53-4f7e-9c1b-2f2f0c9b1a11",
        "game_type_id": "5d3b8a1e-2b6f-4b57-8f0e-1c8d7e6f5a4b",
        "player_ids": ["u1", "u2"],
        "config": config,
        "enqueued_at": "2026-02-10T01:00:00Z",
    }
    for name, value in changes.items():
        where = config if name in CONFIG else fields
        if value is ...:
            del where[name]
        else:
            where[name] = value
    return fields


def read(**changes: Any) -> CreationJob | InvalidJob:
    return read_job(json.dumps(job(**changes)).encode(), RULES)


def reason(**changes: Any) -> Reason | None:
    result = read(**changes)
    return result.reason if isinstance(result, InvalidJob) else None


def test_the_example_is_a_job() -> None:
    result = read()
    assert isinstance(result, CreationJob)
    assert result.player_ids == ("u1", "u2")
    assert result.turn_time_limit_s == 60
    assert result.enqueued_at_s == 1770685200.0
    assert result.age_s(1770685215.5) == 15.5


def test_rules_and_turn_time_have_defaults() -> None:
    result = read(game_rules=..., turn_time_limit=...)
    assert isinstance(result, CreationJob)
    assert (result.game_rules, result.turn_time_limit_s) == ("simple_card_battle", 60)


def test_unknown_keys_are_kept_for_the_rules_and_otherwise_ignored() -> None:
    payload = job() | {"added_later": True}
    payload["config"]["board"] = "large"
    result = read_job(json.dumps(payload).encode(), RULES)
    assert isinstance(result, CreationJob)
    assert result.config["board"] == "large"


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"null", b"[]", b'"job"', b"1", b"\xff", b'{"a":NaN}', b"[" * 100_000, b'{"a":"\\ud800"}'],
)
def test_what_is_not_a_json_object_is_bad_json(payload: bytes) -> None:
    result = read_job(payload, RULES)
    assert isinstance(result, InvalidJob)
    assert result.reason is Reason.BAD_JSON


@pytest.mark.parametrize("field", ["room_id", "game_type_id", "player_ids", "config", "player_count"])
def test_a_field_without_a_default_must_be_there(field: str) -> None:
    assert reason(**{field: ...}) is Reason.MISSING_FIELD


@pytest.mark.parametrize("room_id", ["", "a b", "a/b", "ü", "x" * 65, "x" * 1000, "line\n", 7, None, ["a"]])
def test_a_bad_room_id_is_named(room_id: object) -> None:
    assert reason(room_id=room_id) is Reason.BAD_ROOM_ID


@pytest.mark.parametrize(
    ("players", "count", "rules", "expected"),
    [
        (2, 2, "simple_card_battle", None),
        (3, 3, "simple_card_battle", Reason.BAD_PLAYER_COUNT),
        (2, 3, "simple_card_battle", Reason.BAD_PLAYER_COUNT),
        (0, 0, "any_number", Reason.BAD_PLAYER_COUNT),
        (1, 1, "any_number", Reason.BAD_PLAYER_COUNT),
        (12, 12, "any_number", None),
        (13, 13, "any_number", Reason.BAD_PLAYER_COUNT),
        (2, 2, "chess", Reason.UNKNOWN_GAME_RULES),
    ],
)
def test_rules_and_player_count_have_to_agree_with_the_players(
    players: int, count: int, rules: str, expected: Reason | None
) -> None:
    ids = [f"u{number}" for number in range(players)]
    assert reason(player_ids=ids, player_count=count, game_rules=rules) is expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("player_ids", "u1u2"),
        ("player_ids", ["u1", "u1"]),
        ("player_ids", ["u1", 2]),
        ("player_ids", ["u1", ""]),
        ("player_ids", ["u1", "u" * 129]),
        ("player_count", "2"),
        ("player_count", True),
        ("player_count", 2.0),
        ("turn_time_limit", 0),
        ("turn_time_limit", -1),
        ("turn_time_limit", "60"),
        ("turn_time_limit", 1e9),
        ("game_rules", 5),
        ("game_type_id", ""),
        ("enqueued_at", "yesterday"),
        ("enqueued_at", ["2026-02-10T01:00:00Z"]),
        ("enqueued_at", True),
        ("enqueued_at", -1),
        ("enqueued_at", 1e300),
        ("config", []),
    ],
)
def test_a_field_of_the_wrong_kind_is_a_bad_field(field: str, value: object) -> None:
    assert reason(**{field: value}) is Reason.BAD_FIELD


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-02-10T01:00:00Z", 1770685200.0),
        ("2026-02-10T01:00:00.250+00:00", 1770685200.25),
        ("2026-02-10T03:00:00+02:00", 1770685200.0),
        ("2026-02-10T01:00:00", 1770685200.0),
        ("2026-02-10t01:00:00z", 1770685200.0),
        ("2026-02-10 01:00:00", 1770685200.0),
        (" 2026-02-10T01:00:00.123456789Z ", 1770685200.123456),
        ("20260210T010000Z", 1770685200.0),
        ("2026-02-10", 1770681600.0),
        ("2016-12-31T23:59:60Z", 1483228800.0),
        ("2016-12-31T23:59:60.5+00:00", 1483228800.5),
        ("2017-01-01T08:59:60+09:00", 1483228800.0),
        ("Tue, 10 Feb 2026 01:00:00 GMT", 1770685200.0),
        ("Tue Feb 10 2026 02:00:00 GMT+0100 (Central European Standard Time)", 1770685200.0),
        ("2026-02-10 01:00:00 UTC", 1770685200.0),
        ("2026-02-10 10:00:00 +0900", 1770685200.0),
        ("2026-02-10 01:00:00.25 +0000 UTC m=+0.000012345", 1770685200.25),
        ("2026-02-10 02:00:00 +0100 CET", 1770685200.0),
        ("2026-02-10T01:00:00Z[UTC]", 1770685200.0),
        ("2026-02-10T02:00:00+01:00[Europe/Berlin]", 1770685200.0),
        ("2016-12-31 23:59:60 UTC", 1483228800.0),
        (1770685200, 1770685200.0),
        (1770685200.5, 1770685200.5),
        (1770685200500, 1770685200.5),
        ("1770685200", 1770685200.0),
    ],
)
def test_times_may_be_written_in_any_usual_way(text: object, seconds: float) -> None:
    result = read(enqueued_at=text)
    assert isinstance(result, CreationJob)
    assert result.enqueued_at_s == seconds


@pytest.mark.parametrize("value", [..., None, ""])
def test_a_job_that_does_not_say_when_it_was_pushed_is_never_late(value: object) -> None:
    result = read(enqueued_at=value)
    assert isinstance(result, CreationJob)
    assert result.age_s(1e12) == 0


@pytest.mark.parametrize(
    ("payload", "room_id"),
    [
        (b'{"room_id":"r1"}', "r1"),
        (b'{"room_id":"r1","player_ids":[', "r1"),
        (b'[{"room_id" : "r1"}]', "r1"),
        (b'{"room_id":"r1","config":"\xff"}', "r1"),
        (b'{"room_id":"no/room"}', None),
        (b'{"room_id":7}', None),
        (b"nonsense", None),
    ],
)
def test_the_room_of_a_payload_that_is_no_job_is_found_where_it_can_be_read(
    payload: bytes, room_id: str | None
) -> None:
    result = read_job(payload, RULES)
    assert isinstance(result, InvalidJob)
    assert result.room_id == room_id


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = [
    "room_id",
    "game_type_id",
    "player_ids",
    "enqueued_at",
    "player_count",
    "turn_time_limit",
    "game_rules",
]


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(payload: bytes) -> None:
    assert isinstance(read_job(payload, RULES), CreationJob | InvalidJob)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3))
def test_whatever_passes_is_a_job_as_promised(changes: dict[str, Any]) -> None:
    result = read(**changes)
    if isinstance(result, CreationJob):
        assert is_room_id(result.room_id)
        assert 2 <= len(set(result.player_ids)) == len(result.player_ids) <= 12
        assert len(result.player_ids) in RULES[result.game_rules]
        assert result.turn_time_limit_s > 0
    else:
        assert result.reason in Reason
        assert result.detail
