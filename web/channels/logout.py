"""`POST /internal/inspect/users/{user_id}/logout`: an admin closes all sockets of a user."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from web.handlers.http import Answer, Request, json_answer
from web.handlers.routes import Endpoint, Route
from web.handlers.tokens import admin_refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pydantic import SecretStr

__all__ = ["LOGOUT_PATTERN", "LogoutHandler"]

logger = logging.getLogger(__name__)

LOGOUT_PATTERN: Final = "/internal/inspect/users/{user_id}/logout"
USER_ID_AT: Final = 3


class LogoutHandler:
    """Closes the sockets of a user with 1001, long polls included.

    Clients connect again by themselves: whoever logs a user out ends their tokens first.

    Args:
        everywhere: Closes the sockets of a user in all processes: how many there were, and whom that covers.
        admin_token: Opens the route; without one it does not exist.
    """

    def __init__(
        self, everywhere: Callable[[str], Awaitable[tuple[int, object]]], admin_token: SecretStr | None
    ) -> None:
        self._everywhere = everywhere
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
        closed, coverage = await self._everywhere(user_id)
        logger.info("user_logged_out", extra={"user_id": user_id, "sockets": closed, "by": "admin"})
        return json_answer(200, {"user_id": user_id, "sockets": closed, "coverage": coverage})
