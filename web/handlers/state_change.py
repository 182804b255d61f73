"""Changes smaller than a state: merge patches and increments, as pure functions of the state's bytes.

A change is read from its request once; applying it may be repeated, on whatever the state is then.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from actors.rooms import Refusal
from web.handlers.state_body import BadState, encode_value, parse_value

# A state's bytes into the next state's, or why not. Never raises.
Apply = Callable[[bytes], bytes | Refusal]

MERGE_PATCH: Final = "application/merge-patch+json"
INVALID_STATE: Final = Refusal("invalid_state")
INVALID_PATH: Final = Refusal("invalid_path")
INVALID_INCREMENT: Final = Refusal("invalid_increment")
TOO_LARGE: Final = Refusal("payload_too_large")
# What a PUT says around its state: a state that a change makes could be put, too.
AROUND_STATE: Final = len(b'{"state":}')
# Deeper than any state is.
MAX_TOKENS: Final = 256
_INDEX: Final = re.compile(r"(?:0|[1-9][0-9]{0,8})\Z").match
_ESCAPE: Final = re.compile(r"~(?![01])").search


def read_merge_patch(body: bytes, max_bytes: int) -> Apply | Refusal:
    """The change that a merge patch (RFC 7396) asks for.

    Args:
        body: JSON.
        max_bytes: How long the body of a PUT may be.
    """
    try:
        patch = parse_value(body)
    except BadState:
        return INVALID_STATE

    def apply(state: bytes) -> bytes | Refusal:
        try:
            return _encode(merge_patch(parse_value(state), patch), max_bytes)
        except (BadState, RecursionError):
            return INVALID_STATE

    return apply


def read_increment(body: bytes, max_bytes: int) -> Apply | Refusal:
    """The change that `{"path": JSON Pointer, "by": number}` asks for; `by` is 1 unless given."""
    try:
        document = parse_value(body)
    except BadState:
        return INVALID_INCREMENT
    if not isinstance(document, dict) or not document.keys() <= {"path", "by"}:
        return INVALID_INCREMENT
    by = document.get("by", 1)
    tokens = read_pointer(document.get("path"))
    if not _is_number(by):
        return INVALID_INCREMENT
    if not tokens:
        return INVALID_PATH

    def apply(state: bytes) -> bytes | Refusal:
        try:
            value = parse_value(state)
            return _encode(value, max_bytes) if increment(value, tokens, by) else INVALID_PATH
        except (BadState, OverflowError):
            return INVALID_INCREMENT

    return apply


def merge_patch(target: Any, patch: Any) -> Any:
    """`MergePatch` of RFC 7396, section 2; changes neither.

    >>> merge_patch({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": None, "e": 3}, "d": [2]})
    {'a': {'c': 2, 'e': 3}, 'd': [2]}
    """
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def read_pointer(text: object) -> tuple[str, ...] | None:
    """The tokens of a JSON Pointer (RFC 6901, section 3); None if it is none.

    >>> read_pointer("/players/0/a~1b")
    ('players', '0', 'a/b')
    """
    if not isinstance(text, str) or (text and not text.startswith("/")) or _ESCAPE(text):
        return None
    tokens = text.split("/")[1:]
    if len(tokens) > MAX_TOKENS:
        return None
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in tokens)


def increment(value: Any, tokens: tuple[str, ...], by: float) -> bool:
    """Add `by` in place to the number that the pointer leads to; false if it leads to none.

    Raises:
        OverflowError: The sum is no finite number.
    """
    *way, last = tokens
    for token in way:
        key = _key(value, token)
        if key is None:
            return False
        value = value[key]
    key = _key(value, last)
    if key is None or not _is_number(value[key]):
        return False
    total = value[key] + by
    if total in {float("inf"), float("-inf")}:
        raise OverflowError
    value[key] = total
    return True


def _key(container: Any, token: str) -> str | int | None:
    """How `token` finds something in `container`; None if it does not."""
    if isinstance(container, dict):
        return token if token in container else None
    if isinstance(container, list) and _INDEX(token) and int(token) < len(container):
        return int(token)
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _encode(value: Any, max_bytes: int) -> bytes | Refusal:
    if not isinstance(value, dict | list):
        return INVALID_STATE
    state = encode_value(value)
    return TOO_LARGE if len(state) + AROUND_STATE > max_bytes else state
