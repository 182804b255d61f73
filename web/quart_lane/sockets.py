"""WebSockets beside the Quart application, which only ever hears of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from web.channels.asgi import refuse, serve
from web.handlers.paths import SOCKET_PATH, BadPath, segments_of
from web.handlers.routes import BAD_PATH, NOT_FOUND
from web.quart_lane.app import header_map

if TYPE_CHECKING:
    from web.channels.asgi import Receive, Send
    from web.channels.socket_auth import SocketAuth


class WithSockets:
    """An ASGI application that answers WebSockets itself, and leaves all else to another.

    Args:
        app: The other.
        auth: Lets clients in.
    """

    def __init__(self, app: Any, auth: SocketAuth) -> None:
        self._app = app
        self._auth = auth

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request or serve one WebSocket."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        try:
            found = segments_of(scope["raw_path"].decode("latin-1"))
        except BadPath:
            await self._turn_away(BAD_PATH, scope, receive, send)
            return
        if found != SOCKET_PATH:
            await self._turn_away(NOT_FOUND, scope, receive, send)
            return
        await serve(scope, header_map(scope), receive, send, self._auth)

    async def _turn_away(self, answer: Any, scope: Any, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        await refuse(answer, scope, send)
