"""Who may look inside: whoever bears the admin token, or a browser's session that was opened with it."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from web.handlers.tokens import admin_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import SecretStr

    from web.handlers.http import Answer

COOKIE: Final = "greenroom_admin"
SESSION_S: Final = 12 * 3600
MAX_SESSIONS: Final = 100


class AdminAccess:
    """Checks requests to look inside.

    Sessions live in this process's memory: a restart ends them, and one more than `MAX_SESSIONS` the oldest.

    Args:
        admin_token: Opens everything; without one nothing of this exists.
        is_open: Whether a browser gets a session without being asked for the token, as in development.
        clock: Monotonic seconds.
    """

    def __init__(
        self, admin_token: SecretStr | None, *, is_open: bool = False, clock: Callable[[], float]
    ) -> None:
        self._admin_token = admin_token
        self._clock = clock
        self._sessions: OrderedDict[str, float] = OrderedDict()
        self.is_open = is_open

    @property
    def exists(self) -> bool:
        """Whether anybody may look inside at all."""
        return self._admin_token is not None

    def refusal(self, headers: Mapping[str, str]) -> Answer | None:
        """Why a request is turned down: 404 without a token configured, 401 without one sent."""
        refusal = admin_refusal(headers, self._admin_token)
        if refusal is None or self._admin_token is None:
            return refusal
        return None if self.has_session(headers) else refusal

    def has_session(self, headers: Mapping[str, str]) -> bool:
        """Whether the request's cookie names an open session."""
        until = self._sessions.get(_cookie(headers))
        return until is not None and self._clock() < until

    def open_session(self, *, secure: bool) -> tuple[str, str]:
        """Open a session; the header that gives the browser its cookie."""
        key = secrets.token_urlsafe(32)
        self._sessions[key] = self._clock() + SESSION_S
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return _set_cookie(key, SESSION_S, secure=secure)

    def close_session(self, headers: Mapping[str, str], *, secure: bool) -> tuple[str, str]:
        """End the request's session; the header that takes the cookie away."""
        self._sessions.pop(_cookie(headers), None)
        return _set_cookie("", 0, secure=secure)


def _cookie(headers: Mapping[str, str]) -> str:
    for pair in headers.get("cookie", "").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def _set_cookie(value: str, max_age_s: int, *, secure: bool) -> tuple[str, str]:
    attributes = f"Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"
    return "Set-Cookie", f"{COOKIE}={value}; {attributes}"
