"""A PUT's body is checked once: two parsers, one verdict."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.handlers.state_body import MAX_DEPTH, BadState, read_state

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | TEXT | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)
STATES = st.lists(VALUES) | st.dictionaries(TEXT, VALUES)
# Nineteen digits send a body to the exact parser.
LONG = 10**18


def body_of(document: Any, *, ascii_only: bool = True) -> bytes:
    return json.dumps(document, ensure_ascii=ascii_only).encode()


def verdict(body: bytes) -> str:
    try:
        read_state(body)
    except BadState as bad:
        return str(bad)
    return "ok"


@given(state=STATES, ascii_only=st.booleans())
def test_a_state_keeps_its_value_to_the_last_digit(state: Any, ascii_only: bool) -> None:
    encoded = read_state(body_of({"state": state}, ascii_only=ascii_only))

    assert json.loads(encoded) == state
    assert types_of(json.loads(encoded)) == types_of(state)


def types_of(value: Any) -> Any:
    """Tells 1 from 1.0 and True, which compare equal."""
    if isinstance(value, list):
        return [types_of(item) for item in value]
    if isinstance(value, dict):
        return {key: types_of(item) for key, item in value.items()}
    return type(value)


@given(body=st.binary(max_size=60) | TEXT.map(str.encode) | VALUES.map(body_of))
def test_no_body_whatever_gets_another_error(body: bytes) -> None:
    assert verdict(body) in {"ok", "invalid_state", "invalid_client_id", "invalid_client_ts"}


@given(document=VALUES)
def test_both_parsers_come_to_the_same_verdict(document: Any) -> None:
    """An ignored key with a long number sends the same document through the exact parser."""
    quick = verdict(body_of({"state": document}))
    exact = verdict(body_of({"state": document, "ignored": LONG}))

    assert quick == exact


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "-Infinity",
        "1e999",
        "-1e999",
        '"\\ud800"',
        '"\\udc00\\ud800"',
        "01",
        "+1",
        "1.",
        ".5",
        "0x10",
        "'a'",
        "[1,]",
        '{"a":1,}',
        "{a:1}",
        '"\t"',
        "tru",
        "1 2",
        "/* */ 1",
    ],
)
def test_what_is_no_json_is_refused_by_both(text: str) -> None:
    assert verdict(f'{{"state":[{text}]}}'.encode()) == "invalid_state"
    assert verdict(f'{{"state":[{text}],"ignored":{LONG}}}'.encode()) == "invalid_state"


@pytest.mark.parametrize("ignored", ["1", str(LONG)])
@pytest.mark.parametrize(
    ("depth", "expected"), [(MAX_DEPTH, "ok"), (MAX_DEPTH + 1, "invalid_state"), (100_000, "invalid_state")]
)
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_ends_at_the_same_depth_for_both(
    ignored: str, depth: int, expected: str, opening: str, closing: str
) -> None:
    leaf = "1" if opening.endswith(":") else ""
    state = opening * depth + leaf + closing * depth

    assert verdict(f'{{"state":{state},"ignored":{ignored}}}'.encode()) == expected


@pytest.mark.parametrize(
    ("digits", "expected"), [(4300, "ok"), (4301, "invalid_state"), (50_000, "invalid_state")]
)
def test_an_integer_has_at_most_4300_digits(digits: int, expected: str) -> None:
    assert verdict(b'{"state":[' + b"9" * digits + b"]}") == expected


def test_a_long_fraction_is_a_float_like_any_other() -> None:
    encoded = read_state(b'{"state":[3.14159265358979323846264338327950288]}')

    assert json.loads(encoded) == [math.pi]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ('"client_id":""', "ok"),
        ('"client_id":7', "invalid_client_id"),
        ('"client_id":null', "invalid_client_id"),
        ('"client_ts":"2026-02-10T01:00:00.123Z"', "ok"),
        ('"client_ts":"2026-02-10T01:00:00+02:00"', "ok"),
        ('"client_ts":"2026-02-10"', "ok"),
        ('"client_ts":"2026-02-10t01:00:00z"', "ok"),
        ('"client_ts":"2016-12-31T23:59:60Z"', "ok"),
        ('"client_ts":"2026-02-10T01:00:61Z"', "invalid_client_ts"),
        ('"client_ts":"2026-02-30T00:00:00Z"', "invalid_client_ts"),
        ('"client_ts":"yesterday"', "invalid_client_ts"),
        ('"client_ts":1760000000', "invalid_client_ts"),
        ('"client_ts":null', "invalid_client_ts"),
        ('"client_ts":"' + "2" * 41 + '"', "invalid_client_ts"),
    ],
)
def test_what_a_client_says_of_itself_has_its_types(fields: str, expected: str) -> None:
    assert verdict(f'{{"state":{{}},{fields}}}'.encode()) == expected
