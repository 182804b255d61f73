"""`/config`: console variables for game servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from web.handlers.conditions import is_unchanged
from web.handlers.http import JSON, Answer, error
from web.handlers.paths import query_value
from web.handlers.routes import Endpoint, Route
from web.handlers.tokens import UNAUTHORIZED

if TYPE_CHECKING:
    from actors.players import GameConfig
    from web.handlers.game_servers import GameServers
    from web.handlers.http import Request

NOT_CONFIGURED: Final = error(404, "config_not_configured", "GAME_CONFIG_FILE is not set")
UNREADABLE: Final = error(
    503,
    "config_unavailable",
    "the file has never been read well; the log says why",
    headers=(("Retry-After", "5"),),
)


class GameConfigHandlers:
    """The variables, for those who bear a token.

    Args:
        config: None where there is no file.
        servers: Who may ask, and under which name.
    """

    def __init__(self, config: GameConfig | None, servers: GameServers) -> None:
        self._config = config
        self._servers = servers

    def routes(self) -> tuple[Route, ...]:
        """The paths and what answers them."""
        return tuple(Route(f"{prefix}/config", {"GET": Endpoint(self.get)}) for prefix in ("", "/internal"))

    async def get(self, request: Request) -> Answer:
        """The caller's variables; 304 if it has them.

        A caller whose token has no name may say `?server_id=`.
        """
        caller = self._servers.caller(request.headers)
        if caller is None:
            return UNAUTHORIZED
        if self._config is None:
            return NOT_CONFIGURED
        served = self._config.of(caller.server_id or query_value(request.query, "server_id"))
        if served is None:
            return UNREADABLE
        headers = (("ETag", f'"{served.etag}"'), ("Cache-Control", "no-cache"))
        if is_unchanged(request.headers, served.etag):
            return Answer(304, headers=headers)
        return Answer(200, served.body, JSON + headers)
