from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from actors.automation.snapshot import Invalid, Snapshot, parse_decision_request, parse_snapshot

LEAST: dict[str, Any] = {"userId": 5, "username": "ada", "rankPoints": 1, "kos": 2, "wos": 3}


def _body(**facts: Any) -> bytes:
    return json.dumps(LEAST | facts).encode()


def _parsed(**facts: Any) -> Snapshot:
    return parse_snapshot(_body(**facts), {})[0]


def _faults(body: bytes, headers: dict[str, str] | None = None) -> list[tuple[Any, ...]]:
    with pytest.raises(Invalid) as caught:
        parse_snapshot(body, headers or {})
    said = caught.value.to_json()
    assert said["error"] == "validation_failed"
    assert said["message"]
    assert all(fault.keys() == {"loc", "msg", "type"} for fault in said["detail"])
    return [tuple(fault["loc"]) for fault in said["detail"]]


def test_camel_case_and_snake_case_say_the_same() -> None:
    snake = {"user_id": 5, "username": "ada", "rank_points": 1, "kos": 2, "wos": 3, "display_name": "Ada"}

    assert parse_snapshot(json.dumps(snake).encode(), {})[0] == _parsed(displayName="Ada")


def test_what_is_absent_has_its_default() -> None:
    snapshot = _parsed()

    assert (snapshot.warnings, snapshot.recommendations, snapshot.rank) == (0, 0, None)
    assert snapshot.to_json() == LEAST


def test_unknown_keys_are_ignored_and_not_kept() -> None:
    assert _parsed(favouriteColour="green").to_json() == LEAST


def test_every_missing_field_is_named() -> None:
    assert _faults(b"{}") == [("body", name) for name in LEAST]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("userId", 0),
        ("userId", 2**63),
        ("userId", "5"),
        ("userId", True),
        ("rankPoints", -1),
        ("rankPoints", 2**31),
        ("kos", 1.5),
        ("wos", None),
        ("username", ""),
        ("username", "x" * 65),
        ("username", "nul\0"),
        ("username", 5),
        ("rank", "x" * 65),
        ("punishmentExpiresAt", "tomorrow"),
        ("punishmentExpiresAt", "0001-01-01T00:00:00+14:00"),
        ("punishmentExpiresAt", "9999-12-31T23:59:59-14:00"),
        ("metadata", "text"),
        ("metadata", {"a": float("nan")}),
        ("metadata", {"a": "x" * 20_000}),
        ("metadata", {"a": "nul\0"}),
        ("metadata", {"a": [{"b": ["\0"]}]}),
        ("metadata", {"nul\0": 1}),
        ("metadata", {"a": {"\0": 1}}),
        ("experience", 5),
    ],
)
def test_a_value_the_columns_cannot_hold_is_refused_at_its_place(field: str, value: object) -> None:
    assert _faults(_body(**{field: value}))[0][:2] == ("body", field)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"username":"\\ud800"}',
        _body(metadata={"a": 0}).replace(b'"a": 0', b'"a": ' + b"9" * 5000),
        _body(metadata={"a": 0}).replace(b'"a": 0', b'"a": ' + b"[" * 5000 + b"]" * 5000),
    ],
)
def test_what_is_no_json_object_is_refused_and_never_a_crash(body: bytes) -> None:
    assert _faults(body)


def test_empty_strings_for_optional_words_mean_nothing_is_known() -> None:
    snapshot = _parsed(rank="", displayName="", punishmentStatus="", punishmentExpiresAt="")

    assert (snapshot.rank, snapshot.display_name, snapshot.punishment_status) == (None, None, None)


@pytest.mark.parametrize(
    "said",
    [
        *("2026-03-01T13:00:00+01:00", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00", "2026-03-01t12:00:00z"),
        *("2026-03-01T11:59:60Z", "2026-03-01T12:59:60+01:00"),
    ],
)
def test_times_come_in_as_utc_whatever_their_zone(said: str) -> None:
    assert _parsed(capturedAt=said).captured_at == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_what_only_looks_like_nul_in_metadata_is_text() -> None:
    assert _parsed(metadata={"a": "\\u0000"}).metadata == {"a": "\\u0000"}


def test_large_integers_in_metadata_stay_whole() -> None:
    assert _parsed(metadata={"big": 10**30}).metadata == {"big": 10**30}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("true", True),
        ("1", True),
        ("Yes", True),
        ("ON", True),
        ("false", False),
        ("0", False),
        ("off", False),
    ],
)
def test_headers_say_what_to_do(said: str, meant: bool) -> None:
    _, evaluated = parse_snapshot(_body(), {"x-grps-evaluate": said})
    _, applied = parse_snapshot(_body(), {"x-grps-apply": said})

    assert (evaluated.evaluate, evaluated.apply) == (meant, False)
    assert (applied.evaluate, applied.apply) == (meant, meant)


def test_bad_headers_and_a_bad_body_are_named_together() -> None:
    headers = {"x-grps-apply": "maybe", "x-grps-actor": "-1", "x-roblox-experience": "x" * 129}

    assert _faults(b"[]", headers) == [
        ("header", "x-grps-apply"),
        ("header", "x-roblox-experience"),
        ("header", "x-grps-actor"),
        ("body",),
    ]


@pytest.mark.parametrize("actor", ["", "x", "1.5", "²", "0", str(2**63), "9" * 5000])
def test_an_actor_is_a_user_id(actor: str) -> None:
    assert _faults(_body(), {"x-grps-actor": actor}) == [("header", "x-grps-actor")]


def test_the_experience_is_named_by_the_header_else_by_the_body() -> None:
    body = _body(experience={"universeId": 1, "placeId": "2", "server": "abc"})

    assert parse_snapshot(body, {"x-roblox-experience": "main"})[1].experience_key == "main"
    assert parse_snapshot(body, {"x-grps-actor": "9"})[1].experience_key == "1:2:abc"
    assert parse_snapshot(_body(experience={}), {})[1].experience_key is None


def test_a_decision_is_asked_for_by_user() -> None:
    request = parse_decision_request(b'{"userId":5,"actorUserId":6,"apply":true,"reason":"found out"}')

    assert (request.user_id, request.actor_user_id, request.apply) == (5, 6, True)
    with pytest.raises(Invalid):
        parse_decision_request(b'{"userId":5,"apply":"yes"}')


@pytest.mark.parametrize("key", ["metadata", "experience"])
def test_an_empty_lua_table_is_an_empty_object(key: str) -> None:
    assert _parsed(**{key: []}) == _parsed(**{key: {}})


@pytest.mark.parametrize("key", ["metadata", "experience"])
def test_a_list_that_is_not_empty_is_no_object(key: str) -> None:
    assert _faults(_body(**{key: [1]})) == [("body", key)]
