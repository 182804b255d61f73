"""Who may look inside: whoever bears the admin token, or a browser's session that was opened with it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from web.handlers.tokens import admin_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic import SecretStr

    from web.handlers.http import Answer

COOKIE: Final = "greenroom_admin"
SESSION_S: Final = 12 * 3600
# Sessions remembered as ended; past that the one that ended first is forgotten.
MAX_ENDED: Final = 1000
KEY_PURPOSE: Final = b"greenroom dashboard session"


class AdminSession(NamedTuple):
    """A session of the dashboard.

    Attributes:
        key: Random.
        until: Unix seconds at which it lapses.
    """

    key: str
    until: int


class AdminAccess:
    """Checks requests to look inside.

    A session is a signed cookie: any worker and node with the same admin token knows it, also after a
    restart. What signing out adds to `ended` has to be told to the other processes.

    Args:
        admin_token: Opens everything; without one nothing of this exists.
        is_open: Whether a browser gets a session without being asked for the token, as in development.
        clock: Unix seconds.
    """

    def __init__(
        self, admin_token: SecretStr | None, *, is_open: bool = False, clock: Callable[[], float]
    ) -> None:
        self._admin_token = admin_token
        token = "" if admin_token is None else admin_token.get_secret_value()
        self._key = hmac.digest(token.encode(), KEY_PURPOSE, hashlib.sha256)
        self._clock = clock
        self._ended: OrderedDict[str, int] = OrderedDict()
        self.is_open = is_open

    @property
    def exists(self) -> bool:
        """Whether anybody may look inside at all."""
        return self._admin_token is not None

    @property
    def ended(self) -> list[AdminSession]:
        """Sessions that were signed out before they lapsed."""
        return [AdminSession(*session) for session in self._ended.items()]

    def refusal(self, headers: Mapping[str, str]) -> Answer | None:
        """Why a request is turned down: 404 without a token configured, 401 without one sent."""
        refusal = admin_refusal(headers, self._admin_token)
        if refusal is None or self._admin_token is None:
            return refusal
        return refusal if self.session_of(headers) is None else None

    def session_of(self, headers: Mapping[str, str]) -> AdminSession | None:
        """The open session that the request's cookie names."""
        key, _, rest = _cookie(headers).partition(".")
        until, _, signature = rest.partition(".")
        if not hmac.compare_digest(self._signature(key, until).encode(), signature.encode()):
            return None
        session = AdminSession(key, int(until))
        return session if self._clock() < session.until and key not in self._ended else None

    def open_session(self, *, secure: bool) -> tuple[str, str]:
        """Open a session; the header that gives the browser its cookie."""
        key, until = secrets.token_urlsafe(16), str(int(self._clock()) + SESSION_S)
        return _set_cookie(f"{key}.{until}.{self._signature(key, until)}", SESSION_S, secure=secure)

    def end_sessions(self, sessions: Iterable[AdminSession]) -> None:
        """Take note that sessions were signed out."""
        self._ended.update(sessions)
        for key, until in tuple(self._ended.items()):
            if until < self._clock():
                del self._ended[key]
        while len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)

    def no_cookie(self, *, secure: bool) -> tuple[str, str]:
        """The header that takes the cookie away."""
        return _set_cookie("", 0, secure=secure)

    def _signature(self, key: str, until: str) -> str:
        return hmac.new(self._key, f"{key}.{until}".encode(), hashlib.sha256).hexdigest()


def _cookie(headers: Mapping[str, str]) -> str:
    for pair in headers.get("cookie", "").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def _set_cookie(value: str, max_age_s: int, *, secure: bool) -> tuple[str, str]:
    attributes = f"Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"
    return "Set-Cookie", f"{COOKIE}={value}; {attributes}"
