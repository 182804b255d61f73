"""Who sits behind a socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from actors.matches.creation_job import LONGEST_USER_ID

__all__ = ["ANONYMOUS", "User", "user_from"]

MAX_NAME_LENGTH: Final = 100


@dataclass(frozen=True, slots=True)
class User:
    """A person as the API server knows them.

    Attributes:
        user_id: At most 128 characters; empty for somebody who showed no token.
        display_name: At most 100 characters; the id when there is no name.
    """

    user_id: str
    display_name: str


ANONYMOUS: Final = User("", "")


def user_from(facts: Mapping[str, object]) -> User | None:
    """The user that claims of a token, or the API server's answer, speak of.

    The id is `user_id`, or else `sub`; a number counts as its decimal digits.
    None when there is no id that could be shown to others.
    """
    user_id = _text(facts.get("user_id")) or _text(facts.get("sub"))
    if user_id is None or len(user_id) > LONGEST_USER_ID:
        return None
    name = _text(facts.get("display_name"))
    return User(user_id, user_id if name is None else name[:MAX_NAME_LENGTH])


def _text(value: object) -> str | None:
    if type(value) is int:
        return str(value)
    if not isinstance(value, str) or not value:
        return None
    try:
        # JSON can spell half a surrogate pair, which no frame could carry.
        value.encode()
    except UnicodeEncodeError:
        return None
    return value
