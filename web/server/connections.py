"""Every connection's task.

They belong to the program, not to whoever accepts: a crash of the acceptor
drops no connection.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from web.server.sockets import abort

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

TOO_MANY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 32\r\n"
    b"Retry-After: 5\r\nConnection: close\r\n\r\n"
    b'{"error":"too_many_connections"}'
)

if TYPE_CHECKING:
    Serve = Callable[[socket.socket], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class ConnectionStatistics:
    """Counts since the start, and current ones.

    Attributes:
        open: Connections now, event streams and WebSockets included.
        accepted: Connections there have been.
        refused: Connections turned down for the limit.
        failed: Connections that ended by a fault of ours.
    """

    open: int
    accepted: int
    refused: int
    failed: int


class Connections:
    """Serves sockets, each in a task of its own.

    Args:
        serve: Speaks with one connection until it ends, or true: somebody else closes the socket one day.
        limit: How many at once; one more hears 503.
        refusal: What the one more hears; empty where it would not understand it, in TLS.
        taken: How many sockets somebody else has taken and not closed yet.
    """

    def __init__(
        self, serve: Serve, *, limit: int, refusal: bytes = TOO_MANY, taken: Callable[[], int] = lambda: 0
    ) -> None:
        self._serve = serve
        self._limit = limit
        self._refusal = refusal
        self._taken = taken
        self._open: dict[socket.socket, None] = {}
        self._nursery: trio.Nursery | None = None
        self._idle: trio.Event | None = None
        self._accepted = self._refused = self._failed = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the tasks until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def admit(self, sock: socket.socket) -> None:
        """Serve an accepted socket from now on; never waits."""
        if self._nursery is None or len(self._open) + self._taken() >= self._limit:
            self._refuse(sock)
            return
        self._accepted += 1
        self._open[sock] = None
        self._nursery.start_soon(self._run_one, sock)

    def statistics(self) -> ConnectionStatistics:
        """Current counts."""
        now = len(self._open) + self._taken()
        return ConnectionStatistics(now, self._accepted, self._refused, self._failed)

    async def wait_none(self) -> None:
        """Return when no connection is served by a task of its own."""
        while self._open:
            if self._idle is None:
                self._idle = trio.Event()
            await self._idle.wait()

    def abort_all(self) -> None:
        """Reset every connection that is served by a task of its own."""
        for sock in tuple(self._open):
            abort(sock)

    async def _run_one(self, sock: socket.socket) -> None:
        is_taken = False
        try:
            is_taken = await self._serve(sock)
        except Exception:  # one connection's fault must not cost the others; the log has the trace
            self._failed += 1
            logger.exception("connection_failed")
        finally:
            if not is_taken:
                sock.close()
            del self._open[sock]
            if not self._open and self._idle is not None:
                self._idle.set()
                self._idle = None

    def _refuse(self, sock: socket.socket) -> None:
        self._refused += 1
        try:
            sock.send(self._refusal)
        except OSError:
            pass
        sock.close()
