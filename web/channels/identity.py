"""The user of a socket, made from the claims of a token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from actors.matches.creation_job import LONGEST_USER_ID
from web.handlers.access import Grant

__all__ = ["ANONYMOUS", "User", "user_from"]

MAX_NAME_LENGTH: Final = 100


@dataclass(frozen=True, slots=True)
class User:
    """A user of the API server, or nobody in particular.

    Attributes:
        user_id: At most 128 characters; empty for a client without a token.
        display_name: At most 100 characters; the id where the token has no name.
        grant: What its token allows in rooms; None where they are open, or this node cannot say.
    """

    user_id: str
    display_name: str
    grant: Grant | None = None


ANONYMOUS: Final = User("", "")


def user_from(claims: Mapping[str, object]) -> User | None:
    """Make a user from a token's claims, or from the API server's answer about a token.

    The id is `user_id`, or else `sub`; a number becomes its decimal digits. None if there is no id,
    or one that is too long or cannot be encoded as UTF-8.
    """
    user_id = _text(claims.get("user_id")) or _text(claims.get("sub"))
    if user_id is None or len(user_id) > LONGEST_USER_ID:
        return None
    name = _text(claims.get("display_name"))
    return User(user_id, user_id if name is None else name[:MAX_NAME_LENGTH])


def _text(value: object) -> str | None:
    if type(value) is int:
        return str(value)
    if not isinstance(value, str) or not value:
        return None
    try:
        # JSON can hold half a surrogate pair, which has no UTF-8.
        value.encode()
    except UnicodeEncodeError:
        return None
    return value
