"""TLS in front of both lanes: by ALPN, HTTP/2 goes to Hypercorn and HTTP/1.1 to the fast lane.

The fast lane speaks on sockets, so its bytes come and go through a pair of
connected ones. That makes three descriptors a connection, and leaves one
parser, one set of deadlines and one WebSocket for HTTP/1.1, encrypted or not.
"""

from __future__ import annotations

import logging
import select
import socket
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from web.server.stall_timeout import StallTimeoutStream

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from web.server.hypercorn_lane import HypercornLane

    ServePeer = Callable[[socket.socket, str], Awaitable[bool]]

logger = logging.getLogger(__name__)

HANDSHAKE_S: Final = 10.0
# A record of TLS. What is relayed in larger pieces moves in larger jerks, and a slow client would
# look like one that takes nothing.
CHUNK: Final = 16 * 1024
# How long a client may take nothing of what is left once the lane has ended its connection. Until
# then it is for the lane to say how long.
LAST_STALL_S: Final = 2.0


class _Relayed(StallTimeoutStream):
    """A client's socket, whose client may take nothing for as long as the lane puts up with it."""

    lane_has_ended: Callable[[], bool] | None = None

    def _give_up(self) -> None:
        if self.lane_has_ended is None or self.lane_has_ended():
            super()._give_up()


class TlsLane:
    """Serves connections in TLS.

    Args:
        http1: Serves HTTP/1.1 on a socket, for a client with an address; `FastLane.serve`.
        http2: Serves HTTP/2 on a stream.
        context: Certificate and protocols.
        stall_s: Seconds a client may take nothing.
    """

    def __init__(
        self, http1: ServePeer, http2: HypercornLane, context: ssl.SSLContext, *, stall_s: float
    ) -> None:
        self._http1 = http1
        self._http2 = http2
        self._context = context
        self._stall_s = stall_s

    async def serve(self, sock: socket.socket) -> bool:
        """Serve until either side ends it; false, since the socket stays the caller's."""
        try:
            peer = sock.getpeername()[0]
        except OSError:
            return False
        transport = _Relayed(sock, stall_s=self._stall_s)
        stream = trio.SSLStream(transport, self._context, server_side=True, https_compatible=True)
        try:
            with trio.fail_after(HANDSHAKE_S):
                await stream.do_handshake()
        except (trio.BrokenResourceError, trio.TooSlowError) as failure:
            logger.debug("handshake_failed", extra={"reason": str(failure.__cause__ or failure)})
            return False
        if stream.selected_alpn_protocol() == "h2":
            await self._http2.serve(stream, transport)
        else:
            await self._relay(stream, transport, peer)
        return False

    async def _relay(self, stream: trio.SSLStream[_Relayed], transport: _Relayed, peer: str) -> None:
        """Have HTTP/1.1 served on the other end of a pair of sockets."""
        near, far = socket.socketpair()
        far.settimeout(0)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHUNK)
        near.settimeout(0)
        transport.stall_s = LAST_STALL_S
        transport.lane_has_ended = partial(_is_hung_up, near)
        pair = trio.SocketStream(trio.socket.from_stdlib_socket(near))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve_far, far, peer)
                nursery.start_soon(_to_lane, stream, pair)
                await _to_client(pair, stream)
                nursery.cancel_scope.cancel()
        finally:
            near.close()
        await stream.aclose()

    async def _serve_far(self, far: socket.socket, peer: str) -> None:
        is_taken = False
        try:
            is_taken = await self._http1(far, peer)
        finally:
            if not is_taken:
                far.close()


def _is_hung_up(sock: socket.socket) -> bool:
    """Whether an end of a pair of sockets has been closed."""
    if sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))


async def _to_lane(stream: trio.SSLStream[_Relayed], pair: trio.SocketStream) -> None:
    """Hand on what the client sends, its end too."""
    try:
        while data := await stream.receive_some(CHUNK):
            await pair.send_all(data)
        await pair.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        await pair.aclose()  # the lane finds its client gone


async def _to_client(pair: trio.SocketStream, stream: trio.SSLStream[_Relayed]) -> None:
    """Hand on what the lane sends, until it ends the connection or the client is gone."""
    try:
        while data := await pair.receive_some(CHUNK):
            await stream.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        await pair.aclose()
