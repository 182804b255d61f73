"""WebSockets on raw sockets: like a stream, one object each and no task.

The protocol is `web.channels.websocket`'s; here its bytes come and go.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from web.channels.websocket import AbortReason, WebSocket
from web.fastlane.poller import ENDED, READABLE, WRITABLE
from web.server.sockets import abort

if TYPE_CHECKING:
    from collections.abc import Callable

    from web.channels.session_registry import SessionRegistry
    from web.channels.socket_auth import Admitted
    from web.fastlane.poller import Poller

RECEIVE_BYTES: Final = 16 * 1024
# A client that never stops sending must not have all the turns.
READS_PER_TURN: Final = 8


class RawSocket:
    """One client's WebSocket, after its handshake; watches the socket, and is where its bytes go.

    Args:
        sock: Non-blocking, known to the poller; closed by this object.
        poller: Says when it changes.
        sockets: Opens the session.
        admitted: Whose session.
        on_end: Called once when the socket has been closed.
    """

    __slots__ = ("_on_end", "_poller", "_sock", "_sockets", "_websocket")

    def __init__(
        self,
        sock: socket.socket,
        poller: Poller,
        sockets: SessionRegistry,
        admitted: Admitted,
        *,
        on_end: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._on_end = on_end
        self._poller = poller
        self._sockets = sockets
        self._websocket = WebSocket(self, now=sockets.now())
        self._websocket.attach(sockets.open(admitted.user, admitted.serializer, self._websocket))
        poller.replace(sock.fileno(), self)

    def begin(self, data: bytes, mask: int) -> None:
        """Go on with what the connection's former owner has read, and what it knew of the socket."""
        if data:
            self._websocket.feed(data, self._sockets.now())
        self.ready(mask)

    # -- for the poller ------------------------------------------------------------------

    def ready(self, mask: int) -> None:
        """The kernel says that the socket can do more than before."""
        if mask & WRITABLE:
            self._websocket.flush()
        if mask & (READABLE | ENDED):
            self._read(mask)

    def _read(self, mask: int) -> None:
        for _ in range(READS_PER_TURN):
            try:
                data = self._sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._end()
                return
            self._websocket.feed(data, self._sockets.now())
            if len(data) < RECEIVE_BYTES and not mask & ENDED:
                return
        self._poller.again(self._sock.fileno(), mask)

    def _end(self) -> None:
        self._poller.forget(self._sock.fileno())
        self._websocket.eof()
        self._sock.close()
        self._on_end()

    # -- for the protocol: its Sink ---------------------------------------------------------

    def write(self, data: bytes) -> int:
        """How many of the bytes were taken."""
        try:
            return self._sock.send(data)
        except OSError:  # no room; or nobody there, and then the poller says so
            return 0

    def want_flush(self) -> None:
        """Nothing to do: the poller speaks up by itself when there is room again."""

    def finish(self, cut: AbortReason | None) -> None:
        """Say that nothing more comes, or reset; either way the client's end follows, and ours."""
        if cut is not None:
            abort(self._sock)
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the client was quicker
