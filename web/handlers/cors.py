"""Which other origins may read our answers (Fetch Standard, "CORS protocol")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from web.handlers.http import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from web.handlers.http import Headers

ALLOWED_HEADERS: Final = "Content-Type, Authorization, If-Match, If-None-Match, Last-Event-ID, X-Room-Secret"
EXPOSED_HEADERS: Final = "ETag"
# Ten minutes: short enough that a changed CORS_ORIGINS is felt the same hour.
PREFLIGHT_MAX_AGE_S: Final = 600
_VARY: Final[Headers] = (("Vary", "Origin"),)


@dataclass(frozen=True, slots=True)
class Cors:
    """The origins that may read our answers: exact ones, or `*` for all."""

    origins: frozenset[str] = frozenset()

    def allows(self, origin: str, host: str) -> bool:
        """Whether `origin` is on the list, or is where the page and we both live."""
        return "*" in self.origins or origin.lower() in self.origins or _is_same(origin, host)

    def headers(self, request_headers: Mapping[str, str]) -> Headers:
        """What to add to an answer. Caches must know that it depends on the origin, whoever asks first."""
        origin = request_headers.get("origin")
        if origin is None or not self.allows(origin, request_headers.get("host", "")):
            return _VARY if self.origins else ()
        return (
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", EXPOSED_HEADERS),
            *_VARY,
        )

    def preflight(self, request_headers: Mapping[str, str], allow: str) -> Answer:
        """The answer to a preflight where the methods are `allow`, but for what `headers` adds to all."""
        if not self.allows(request_headers["origin"], request_headers.get("host", "")):
            return Answer(204, headers=())
        permission = (
            ("Access-Control-Allow-Methods", allow),
            ("Access-Control-Allow-Headers", ALLOWED_HEADERS),
            ("Access-Control-Max-Age", str(PREFLIGHT_MAX_AGE_S)),
        )
        return Answer(204, headers=permission)


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser asks for permission first."""
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def _is_same(origin: str, host: str) -> bool:
    return bool(host) and origin.partition("://")[2].lower() == host.lower()
