"""`POST /internal/inspect/users/{user_id}/logout`: an admin closes all sockets of a user."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from web.channels.session_registry import SessionRegistry
from web.handlers.http import Answer, Request, json_answer
from web.handlers.routes import Endpoint, Route
from web.handlers.tokens import admin_refusal

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = ["LOGOUT_PATTERN", "LogoutHandler"]

logger = logging.getLogger(__name__)

LOGOUT_PATTERN: Final = "/internal/inspect/users/{user_id}/logout"
USER_ID_AT: Final = 3


class LogoutHandler:
    """Closes the sockets of a user with 1001, long polls included.

    Clients connect again by themselves: whoever logs a user out ends their tokens first.

    Args:
        sockets: The sessions of this process.
        admin_token: Opens the route; without one it does not exist.
    """

    def __init__(self, sockets: SessionRegistry, admin_token: SecretStr | None) -> None:
        self._sockets = sockets
        self._admin_token = admin_token

    def routes(self) -> tuple[Route, ...]:
        """The route, if there is an admin."""
        if self._admin_token is None:
            return ()
        return (Route(LOGOUT_PATTERN, {"POST": Endpoint(self.logout)}),)

    async def logout(self, request: Request) -> Answer:
        """Close the sockets of a user; the answer says how many there were."""
        refusal = admin_refusal(request.headers, self._admin_token)
        if refusal is not None:
            return refusal
        user_id = request.segments[USER_ID_AT]
        closed = self._sockets.logout(user_id)
        logger.info("user_logged_out", extra={"user_id": user_id, "sockets": closed, "by": "admin"})
        return json_answer(200, {"user_id": user_id, "sockets": closed})
