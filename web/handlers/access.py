"""Who may read and write which room: tokens, verified once and remembered until they expire."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from web.handlers.cors import Cors
from web.handlers.http import Answer, error
from web.handlers.jwt_keys import LEEWAY_S, JwtKeys, is_current, number_of
from web.handlers.paths import query_value
from web.handlers.sse import notice
from web.handlers.tokens import UNAUTHORIZED, bearer, is_admin

if TYPE_CHECKING:
    from pydantic import SecretStr

COOKIE: Final = "greenroom_token"
READ: Final = "r"
WRITE: Final = "rw"
FORBIDDEN: Final = error(403, "forbidden", "this token has no right to that")
FOREIGN_COOKIE: Final = error(403, "forbidden", "a cookie sent by a page of another origin does not count")
# As many as a node has streams by default. A longer token is verified each time.
MAX_REMEMBERED: Final = 20_000
MAX_REMEMBERED_LENGTH: Final = 2048


class Grant(NamedTuple):
    """What a token allows, and until when.

    Attributes:
        expires_at: Unix seconds from which it is not taken any more.
        rooms: Rights by room id.
        prefixes: Rights by the beginning of a room's id, the longest first.
    """

    expires_at: float
    rooms: Mapping[str, str]
    prefixes: tuple[tuple[str, str], ...]

    def right(self, room_id: str) -> str:
        """`rw`, `r` or nothing: as the room's own entry says, else the longest prefix that fits."""
        own = self.rooms.get(room_id)
        if own is not None:
            return own
        return next((right for prefix, right in self.prefixes if room_id.startswith(prefix)), "")

    def may(self, room_id: str, right: str) -> bool:
        """Whether it grants `right`, `READ` or `WRITE`."""
        return self.right(room_id).startswith(right)


def read_grant(claims: Mapping[str, object]) -> Grant:
    """What the claim `rooms` grants, `{"abc": "r", "team-*": "rw"}`; others grant nothing."""
    rooms, prefixes = {}, []
    granted = claims.get("rooms")
    for name, right in granted.items() if isinstance(granted, Mapping) else ():
        given = right if isinstance(right, str) and right in {READ, WRITE} else ""
        if name.endswith("*"):
            prefixes.append((name[:-1], given))
        else:
            rooms[name] = given
    prefixes.sort(key=lambda entry: -len(entry[0]))
    return Grant((number_of(claims.get("exp")) or 0.0) + LEEWAY_S, rooms, tuple(prefixes))


class Access:
    """Judges requests by their tokens.

    A token is `Authorization: Bearer`, else `?token=`, else the cookie `greenroom_token`. The cookie
    counts only for pages that may read our answers, since browsers send it for others too.

    Args:
        keys: What tokens are signed with.
        admin_token: Opens everything.
        cors: The allowed origins.
        clock: Unix seconds.

    Attributes:
        verified: Tokens whose signature was checked and is good.
        refused: Requests turned down, by status.
    """

    def __init__(
        self,
        keys: JwtKeys,
        *,
        admin_token: SecretStr | None = None,
        cors: Cors | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._admin_token = admin_token
        self._cors = cors or Cors()
        self._clock = clock
        self._grants: OrderedDict[str, Grant] = OrderedDict()
        self.verified = 0
        self.refused = {"401": 0, "403": 0}
        # A key that is not trusted any more takes the tokens that it has signed along.
        keys.on_changed = self._grants.clear

    def __len__(self) -> int:
        return len(self._grants)

    def __bool__(self) -> bool:
        return True  # also with nothing remembered

    def grant(self, token: str) -> Grant | None:
        """What a token allows; None if it is not good, or not any more."""
        grant = self._grants.get(token)
        if grant is not None:
            if self._clock() < grant.expires_at:
                return grant
            del self._grants[token]
            return None
        claims = self._keys.claims(token)
        if claims is None or not is_current(claims, self._clock()):
            return None
        self.verified += 1
        grant = read_grant(claims)
        if len(token) <= MAX_REMEMBERED_LENGTH:
            if len(self._grants) >= MAX_REMEMBERED:
                self._grants.popitem(last=False)
            self._grants[token] = grant
        return grant

    def allows(self, headers: Mapping[str, str], room_id: str, right: str) -> bool:
        """Whether a request without a query has the right; of one that has not, `judge` says why."""
        authorization = headers.get("authorization")
        if authorization is None or authorization[:7] != "Bearer ":
            return False
        grant = self.grant(authorization[7:])
        return grant is not None and grant.may(room_id, right)

    def judge(
        self, headers: Mapping[str, str], query: str, room_id: str, right: str
    ) -> Grant | Answer | None:
        """What the request's token grants; None for an admin, to whom all is granted; an answer refuses."""
        grant = self.identify(headers, query)
        if isinstance(grant, Grant) and not grant.may(room_id, right):
            return self._refuse(FORBIDDEN)
        return grant

    def identify(self, headers: Mapping[str, str], query: str) -> Grant | Answer | None:
        """As `judge`, whatever the right."""
        token = bearer(headers) or query_value(query, "token")
        if not token:
            token = cookie(headers.get("cookie", ""), COOKIE)
            origin = headers.get("origin")
            if token and origin is not None and not self._cors.allows(origin, headers.get("host", "")):
                return self._refuse(FOREIGN_COOKIE)
        grant = self.grant(token) if token else None
        if grant is not None:
            return grant
        return None if is_admin(headers, self._admin_token) else self._refuse(UNAUTHORIZED)

    def _refuse(self, answer: Answer) -> Answer:
        self.refused[str(answer.status)] += 1
        return answer


def expired_notice(data: Mapping[str, str]) -> bytes:
    """What a stream is sent when its token has expired."""
    return notice("expired", orjson.dumps(data))


def cookie(header: str, name: str) -> str:
    """The value of a cookie (RFC 6265, section 4.2); empty if there is none."""
    for pair in header.split(";"):
        found, _, value = pair.strip().partition("=")
        if found == name:
            return value.strip('"')
    return ""
