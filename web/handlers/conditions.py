"""Conditional requests: `If-Match` and `If-None-Match` (RFC 9110, section 13)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from actors.rooms import ALWAYS, Condition

if TYPE_CHECKING:
    from collections.abc import Mapping

# An entity tag, weak or not. The quotes are wanted, but clients that forget
# them mean the same.
_TAG: Final = re.compile(r'(?:^|,)\s*(?P<weak>W/)?(?:"(?P<quoted>[^"]*)"|(?P<bare>[^",\s]+))\s*(?=,|$)')
# A tag no record has: what stands for a list of tags of which none can match.
NO_TAG: Final = ""


def write_condition(headers: Mapping[str, str]) -> Condition:
    """What a PUT asks of the record it is about to overwrite."""
    match = headers.get("if-match")
    none_match = headers.get("if-none-match")
    if match is None and none_match is None:
        return ALWAYS
    must_exist = match is not None and match.strip() == "*"
    return Condition(
        any_of=() if match is None or must_exist else strong_tags(match) or (NO_TAG,),
        must_exist=must_exist,
        must_not_exist=none_match is not None and none_match.strip() == "*",
    )


def strong_tags(field: str) -> tuple[str, ...]:
    """The tags of a list without their quotes. Weak ones never match in `If-Match` and are left out."""
    return tuple(tag["quoted"] or tag["bare"] or NO_TAG for tag in _TAG.finditer(field) if not tag["weak"])


def is_unchanged(headers: Mapping[str, str], etag: str) -> bool:
    """Whether the asker of a GET already has the version with this tag (without quotes)."""
    field = headers.get("if-none-match")
    if field is None:
        return False
    return field.strip() == "*" or any(etag in (tag["quoted"], tag["bare"]) for tag in _TAG.finditer(field))
