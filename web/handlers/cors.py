"""Which other origins may read our answers (Fetch Standard, "CORS protocol")."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from web.handlers.http import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from web.handlers.http import Headers

logger = logging.getLogger(__name__)

ALLOWED_HEADERS: Final = (
    "Content-Type, Authorization, If-Match, If-None-Match, Last-Event-ID, X-Room-Secret, Idempotency-Key, "
    "Cache-Control, traceparent, tracestate, baggage"
)
EXPOSED_HEADERS: Final = "ETag, Retry-After, Link"
# Ten minutes: short enough that a changed CORS_ORIGINS is felt the same hour.
PREFLIGHT_MAX_AGE_S: Final = 600
# A field's name (RFC 9110, section 5.6.2).
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_VARY: Final[Headers] = (("Vary", "Origin"),)
_CREDENTIALS: Final = ("Access-Control-Allow-Credentials", "true")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a preflight of a path allows beside the path's methods.

    Attributes:
        headers: Names, separated by commas; None for all that are asked for.
        max_age_s: How long a browser may go by it.
    """

    headers: str | None = ALLOWED_HEADERS
    max_age_s: int = PREFLIGHT_MAX_AGE_S

    def headers_for(self, asked: str) -> str:
        """The names to answer `asked` with, which is what the browser wants to send."""
        return _names(asked) if self.headers is None else self.headers


USUAL_GRANT: Final = Grant()


@dataclass(frozen=True, slots=True)
class Cors:
    """The origins that may read our answers.

    Attributes:
        origins: Whole ones; `*` for all; `https://*.example.com` for one label in place of the star.
        credentials: Whether they may have cookies sent along.
    """

    origins: frozenset[str] = frozenset()
    credentials: bool = False

    def allows(self, origin: str, host: str) -> bool:
        """Whether `origin` is on the list, or is where the page and we both live."""
        origins = self.origins
        if "*" in origins or (lower := origin.lower()) in origins:
            return True
        return _starred(lower) in origins or _is_same(origin, host)

    def headers(self, request_headers: Mapping[str, str]) -> Headers:
        """What to add to an answer. Caches must know that it depends on the origin, whoever asks first."""
        origin = request_headers.get("origin")
        if origin is None:
            return _VARY if self.origins else ()
        if not self.allows(origin, request_headers.get("host", "")):
            logger.debug("origin_refused", extra={"origin": origin})
            return _VARY if self.origins else ()
        allowed = (
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", EXPOSED_HEADERS),
            *_VARY,
        )
        return (*allowed, _CREDENTIALS) if self.credentials else allowed

    def preflight(self, request_headers: Mapping[str, str], allow: str, grant: Grant = USUAL_GRANT) -> Answer:
        """The answer to a preflight where the methods are `allow`, but for what `headers` adds to all."""
        if not self.allows(request_headers["origin"], request_headers.get("host", "")):
            return Answer(204, headers=())
        asked = request_headers.get("access-control-request-headers", "")
        permission = (
            ("Access-Control-Allow-Methods", allow),
            ("Access-Control-Allow-Headers", grant.headers_for(asked)),
            ("Access-Control-Max-Age", str(grant.max_age_s)),
        )
        return Answer(204, headers=permission)


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser asks for permission first."""
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def _names(asked: str) -> str:
    """The names of fields in a list of them; whatever else a stranger wrote is not repeated."""
    return ", ".join(name for part in asked.split(",") if _TOKEN.fullmatch(name := part.strip()))


def is_same_host(origin: str, host: str) -> bool:
    """Whether a page of `origin` came from `host`, on any port if a proxy has left that out of `host`."""
    return _is_same(origin, host) or (
        bool(host) and _split(host)[1] is None and _host(origin) == _split(host)[0]
    )


def _starred(origin: str) -> str:
    """The origin with a star for the first label of its host, as a setting has it."""
    scheme, separator, authority = origin.partition("://")
    return f"{scheme}{separator}*.{authority.partition('.')[2]}" if authority[:1] not in {"", "."} else ""


def _is_same(origin: str, host: str) -> bool:
    """Whether `Host` names the page's own origin; the default port may be written out or not."""
    scheme, _, authority = origin.lower().partition("://")
    if not host or not authority:
        return False
    name, port = _split(host)
    own_name, own_port = _split(authority)
    default = DEFAULT_PORTS.get(scheme)
    return name == own_name and (port or default) == (own_port or default)


def _host(origin: str) -> str:
    return _split(origin.partition("://")[2])[0]


def _split(authority: str) -> tuple[str, str | None]:
    """Name and port; an IPv6 address keeps its brackets."""
    name, colon, port = authority.lower().rpartition(":")
    return (name, port) if colon and "]" not in port else (authority.lower(), None)
