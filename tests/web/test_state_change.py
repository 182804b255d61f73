"""Merge patches and increments: what comes of a state."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.rooms import Refusal
from web.handlers.state_change import merge_patch, read_increment, read_merge_patch, read_pointer

MOST = 32_768

# The table of RFC 7396, appendix A: original, patch, result.
APPENDIX = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=1), inner, max_size=3),
    max_leaves=12,
)


def without_nulls(value: Any) -> Any:
    """What a merge patch of it makes of nothing."""
    if not isinstance(value, dict):
        return value
    return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}


def patched(state: Any, patch: bytes, most: int = MOST) -> Any:
    apply = read_merge_patch(patch, most)
    result = apply if isinstance(apply, Refusal) else apply(json.dumps(state).encode())
    return result.code if isinstance(result, Refusal) else json.loads(result)


def incremented(state: Any, path: object, by: object = 1) -> Any:
    apply = read_increment(json.dumps({"path": path, "by": by}).encode(), MOST)
    result = apply if isinstance(apply, Refusal) else apply(json.dumps(state).encode())
    return result.code if isinstance(result, Refusal) else json.loads(result)


@pytest.mark.parametrize(("original", "patch", "result"), APPENDIX)
def test_the_examples_of_the_rfc_come_out_as_it_says(original: Any, patch: Any, result: Any) -> None:
    before = json.dumps([original, patch])

    assert merge_patch(original, patch) == result
    assert json.dumps([original, patch]) == before
    if isinstance(result, dict | list):
        assert patched(original, json.dumps(patch).encode()) == result
    else:
        assert patched(original, json.dumps(patch).encode()) == "invalid_state"


@given(json_values, json_values)
def test_a_patch_applied_twice_changes_no_more(target: Any, patch: Any) -> None:
    once = merge_patch(target, patch)

    assert merge_patch(once, patch) == once


@given(json_values)
def test_a_patch_of_nothing_is_the_patch_without_its_nulls(patch: Any) -> None:
    assert merge_patch(None, patch) == without_nulls(patch)


@given(json_values, json_values)
def test_what_a_patch_does_not_name_stays(target: Any, patch: Any) -> None:
    result = merge_patch(target, patch)
    if isinstance(target, dict) and isinstance(patch, dict):
        assert {name: result[name] for name in target.keys() - patch.keys()} == {
            name: target[name] for name in target.keys() - patch.keys()
        }


@pytest.mark.parametrize(
    "patch",
    [b"", b"{", b"NaN", b'{"a":1e999}', b'"\\ud800"', b"\xff", b'{"a":' * 2000, b"7", b"null"],
)
def test_what_is_no_patch_of_a_state_is_refused(patch: bytes) -> None:
    assert patched({"a": 1}, patch) == "invalid_state"


def test_a_patch_may_nest_as_deeply_as_a_state_and_no_deeper() -> None:
    deepest = b'{"a":' * 253 + b"{}" + b"}" * 253

    assert patched({}, deepest) == json.loads(deepest)
    assert patched({}, b'{"a":' + deepest + b"}") == "invalid_state"


def test_a_state_that_no_put_could_write_is_too_large() -> None:
    patch = json.dumps({"b": "x" * 50}).encode()

    assert patched({"a": "y" * 30}, patch, 120) == {"a": "y" * 30, "b": "x" * 50}
    assert patched({"a": "y" * 50}, patch, 120) == "payload_too_large"


@pytest.mark.parametrize("digits", [10**30, -(10**4299)])
def test_integers_of_any_length_are_kept(digits: int) -> None:
    assert patched({"a": digits}, b'{"b":1}') == {"a": digits, "b": 1}
    assert patched({"b": 1}, b'{"a":%d}' % digits) == {"a": digits, "b": 1}


# RFC 6901, section 5.
RFC_6901 = {
    "foo": [1, 2], "": 3, "a/b": 4, "c%d": 5, "e^f": 6, "g|h": 7, "i\\j": 8, 'k"l': 9, " ": 10, "m~n": 11,
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/foo/0", 1), ("/foo/1", 2), ("/", 3), ("/a~1b", 4), ("/c%d", 5), ("/e^f", 6), ("/g|h", 7),
        ("/i\\j", 8), ('/k"l', 9), ("/ ", 10), ("/m~0n", 11),
    ],
)  # fmt: skip
def test_a_pointer_finds_what_the_rfc_says(path: str, found: int) -> None:
    after = incremented(RFC_6901, path, 100)

    assert sorted(json.dumps(after).replace(str(found + 100), str(found))) == sorted(json.dumps(RFC_6901))
    assert after != RFC_6901


@pytest.mark.parametrize(
    "path",
    [
        "", "a", "/b", "/foo", "/foo/2", "/foo/-", "/foo/-1", "/foo/01", "/foo/0/x", "/foo/²", "/flag",
        "/text", "/none", "/a~2", "/a~", "/foo/1e0", None, 7, ["foo", 0], "/" * 300,
    ],
)  # fmt: skip
def test_a_pointer_to_no_number_is_refused(path: object) -> None:
    state = {"foo": [1, 2], "flag": True, "text": "1", "none": None}

    assert incremented(state, path) == "invalid_path"


@given(st.lists(st.text(max_size=3), min_size=1, max_size=4))
def test_any_names_can_be_pointed_to(names: list[str]) -> None:
    path = "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)
    state: Any = 1
    for name in reversed(names):
        state = {name: state}

    assert read_pointer(path) == tuple(names)
    after = incremented(state, path, 41)
    for name in names:
        after = after[name]
    assert after == 42


@pytest.mark.parametrize(
    ("value", "by", "total"),
    [
        (1, 1, 2), (1, -5, -4), (1, 0.5, 1.5), (0.25, 1, 1.25), (2**63 - 1, 1, 2**63),
        (-(2**63), -1, -(2**63) - 1), (10**30, 1, 10**30 + 1), (2**53, 1, 2**53 + 1), (5, 0, 5),
    ],
)  # fmt: skip
def test_integers_are_exact_and_fractions_are_fractions(value: float, by: float, total: float) -> None:
    after = incremented({"n": value}, "/n", by)

    assert after == {"n": total}
    assert type(after["n"]) is type(total)


@pytest.mark.parametrize("by", [True, None, "1", [], 1e400])
def test_only_numbers_can_be_added(by: object) -> None:
    assert incremented({"n": 1}, "/n", by) == "invalid_increment"


@pytest.mark.parametrize(("value", "by"), [(1.7e308, 1.7e308), (10**400, 0.5), (10**4299 * 9, 10**4299 * 9)])
def test_a_sum_that_no_state_can_hold_is_refused(value: float, by: float) -> None:
    assert incremented({"n": value}, "/n", by) == "invalid_increment"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"path":"/n","by":1,"to":2}', b'{"by":1'])
def test_a_body_that_asks_for_no_increment_is_refused(body: bytes) -> None:
    assert read_increment(body, MOST) == Refusal("invalid_increment")


def test_by_is_one_unless_it_is_given() -> None:
    apply = read_increment(b'{"path":"/n"}', MOST)

    assert callable(apply)
    assert apply(b'{"n":1}') == b'{"n":2}'
