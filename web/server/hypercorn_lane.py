"""HTTP/2 on one connection, served by Hypercorn: behind TLS, and in clear by prior knowledge."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import LifespanState
from hypercorn.utils import wrap_app

from web.server import flow_control
from web.server.http2 import FINALIZE, Http2Server
from web.server.stall_timeout import CONNECTION, StallTimeoutStream

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from hypercorn.typing import ASGIFramework

    from web.handlers.http import Answer

    Finalize = Callable[[Answer, Mapping[str, str]], Answer]

# Without a request.
KEEP_ALIVE_S: Final = 60.0
# One busy HTTP/2 connection may carry streams for days; Hypercorn would end
# it, and them, after a thousand requests.
REQUESTS_PER_CONNECTION: Final = 1 << 62


class HypercornLane:
    """Speaks HTTP on a socket through an ASGI application.

    Args:
        app: The application. In `scope["state"]` it finds the connection's `StallTimeoutStream`.
        finalize: Completes and counts what is answered without the application: `Dispatcher.finalize`.
        stall_s: Seconds a peer may take nothing.
    """

    def __init__(self, app: ASGIFramework, finalize: Finalize, *, stall_s: float) -> None:
        flow_control.install()
        self._config = _config()
        self._app = wrap_app(app, self._config.wsgi_max_body_size, "asgi")
        self._context = WorkerContext(None)
        self._finalize = finalize
        self._stall_s = stall_s

    async def serve_socket(self, sock: socket.socket, prefix: bytes = b"") -> None:
        """Serve in clear until either side ends it. `prefix` are bytes already read from the socket."""
        stream = StallTimeoutStream(sock, stall_s=self._stall_s, prefix=prefix)
        await self.serve(stream, stream)

    async def serve(self, stream: Any, transport: StallTimeoutStream) -> None:
        """Serve a stream, over TLS or in clear, until either side ends it."""
        state = LifespanState({CONNECTION: transport, FINALIZE: self._finalize})
        try:
            await Http2Server(self._app, self._config, self._context, state, stream)
        finally:
            transport.socket.close()

    async def wind_up(self) -> None:
        """End idle connections now, and others after the answer they are at."""
        await self._context.terminated.set()


def _config() -> Config:
    config = Config()
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = REQUESTS_PER_CONNECTION
    return config
