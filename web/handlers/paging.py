"""`limit` and `cursor` of the leaderboards and of stored decisions."""

from __future__ import annotations

import re
from typing import Final

from actors.automation.leaderboard import MAX_LIMIT, Place
from actors.automation.policy import INT32_MAX, INT64_MAX
from actors.automation.snapshot import Invalid
from web.handlers.paths import query_value

_IS_LIMIT: Final = re.compile(r"[0-9]{1,3}\Z").match
_IS_ID: Final = re.compile(r"[0-9]{1,19}").fullmatch
_LARGEST: Final = Place(INT32_MAX, INT32_MAX, INT32_MAX, INT64_MAX)
# What `/openapi.json` says of a cursor.
CURSOR_PATTERN: Final = r"^([0-9]{1,10})-([0-9]{1,10})-([0-9]{1,10})-([0-9]{1,19})$"
# fullmatch: to Python a $ also stands before a newline at the end.
_IS_CURSOR: Final = re.compile(CURSOR_PATTERN).fullmatch


def _fault(name: str, message: str, kind: str) -> Invalid:
    return Invalid([{"loc": ["query", name], "msg": message, "type": kind}])


def read_limit(query: str, default: int) -> int:
    """How many lines are wanted.

    Raises:
        Invalid: It is no number from 1 to `MAX_LIMIT`.
    """
    said = query_value(query, "limit")
    if said is None:
        return default
    if not (said.isascii() and _IS_LIMIT(said)) or not 1 <= int(said) <= MAX_LIMIT:
        raise _fault("limit", f"Input should be a number from 1 to {MAX_LIMIT}", "int_range")
    return int(said)


def read_cursor(query: str) -> Place | None:
    """After which place the page begins; None for the first page.

    Raises:
        Invalid: It is none of ours.
    """
    said = query_value(query, "cursor")
    if said is None:
        return None
    found = _IS_CURSOR(said) if said.isascii() else None
    place = None if found is None else Place(*map(int, found.groups()))
    if place is None or any(part > most for part, most in zip(place, _LARGEST, strict=True)):
        raise _fault("cursor", "Input should be the cursor of a page before", "cursor")
    return place


def read_before(query: str) -> int | None:
    """The id of a stored decision that the page begins after; None for the first page.

    Raises:
        Invalid: It is none of ours.
    """
    return _read_id(query, "cursor", "Input should be the cursor of a page before", "cursor")


def read_user(query: str) -> int | None:
    """`userId`; None where it is left out.

    Raises:
        Invalid: It is no Roblox user id.
    """
    return _read_id(query, "userId", "Input should be a Roblox user id", "int_parsing")


def _read_id(query: str, name: str, message: str, kind: str) -> int | None:
    said = query_value(query, name)
    if said is None:
        return None
    if not _IS_ID(said) or not 1 <= int(said) <= INT64_MAX:
        raise _fault(name, message, kind)
    return int(said)


def cursor_of(place: Place) -> str:
    """What the next page is asked for with."""
    return "-".join(map(str, place))
