"""A stream over one socket that waits only as long as its peer makes progress.

Hypercorn sends inside a shielded cancel scope: with an ordinary stream a
client that stops reading can neither be evicted nor does a shutdown return
while it holds on. So the deadline sits here, below it. It is about progress,
not about time: a slow client that takes a byte now and then is served, one
that takes nothing for `stall_s` is cut off.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

import trio

from web.server.sockets import abort

if TYPE_CHECKING:
    import socket

# After our last byte the peer has this long to close; what it still sends is
# read and dropped, for closing a socket with unread bytes resets the
# connection and takes the answer away from a client that is still sending.
LINGER_S: Final = 1.0
LINGER_BYTES: Final = 1024 * 1024
# Where an application finds its connection in `scope["state"]`.
CONNECTION: Final = "connection"
_CHUNK: Final = 64 * 1024


class StallTimeoutStream(trio.abc.HalfCloseableStream):
    """One accepted socket.

    Args:
        sock: Not blocking; owned by this stream from now on.
        stall_s: Seconds without any progress of a send after which the connection is reset.
        prefix: Bytes already read from the socket, to be received first.

    Attributes:
        socket: The socket in trio's wrapping.
        stall_s: As given; may be changed.
        stalled: Whether the peer was cut off because it took nothing.
    """

    def __init__(self, sock: socket.socket, *, stall_s: float, prefix: bytes = b"") -> None:
        self.socket = trio.socket.from_stdlib_socket(sock)
        self._sock = sock
        self.stalled = False
        self.stall_s = stall_s
        self._prefix = prefix
        self._peer_is_done = False
        self._closing = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything.

        Raises:
            BrokenResourceError: The peer is gone, or took nothing for `stall_s`.
            ClosedResourceError: This side has closed.
        """
        self._check_open()
        with memoryview(data) as view:
            rest = view
            since = trio.current_time()
            while rest:
                with trio.move_on_at(since + self.stall_s) as scope:
                    sent = await self._send_some(rest)
                    rest = rest[sent:]
                    since = trio.current_time()
                if scope.cancelled_caught:
                    self._give_up()
                    since = trio.current_time()

    def _give_up(self) -> None:
        """End a connection whose peer takes nothing; it gets as long again where a subclass returns."""
        self.stalled = True
        self.abort()
        raise trio.BrokenResourceError(f"the peer took nothing for {self.stall_s} s")

    async def _send_some(self, data: memoryview) -> int:
        try:
            return await self.socket.send(data)
        except OSError as error:
            # The kernel may lose its patience first: TCP_USER_TIMEOUT.
            self.stalled = self.stalled or error.errno == errno.ETIMEDOUT
            self._peer_is_done = True
            raise trio.BrokenResourceError(str(error)) from error

    async def wait_send_all_might_not_block(self) -> None:
        """Return when some bytes would be taken."""
        self._check_open()
        await trio.lowlevel.wait_writable(self.socket)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """At least one byte, or none at the end.

        Raises:
            BrokenResourceError: The peer has reset the connection.
            ClosedResourceError: This side has closed.
        """
        self._check_open()
        if self._prefix:
            await trio.lowlevel.checkpoint()
            data, self._prefix = self._prefix[:max_bytes], self._prefix[max_bytes or len(self._prefix) :]
            return data
        try:
            data = await self.socket.recv(max_bytes or _CHUNK)
        except OSError as error:
            self._peer_is_done = True
            raise trio.BrokenResourceError(str(error)) from error
        self._peer_is_done = not data
        return data

    async def send_eof(self) -> None:
        """Say that nothing more will be sent."""
        self._check_open()
        await trio.lowlevel.checkpoint()
        try:
            self.socket.shutdown(trio.socket.SHUT_WR)
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    def abort(self) -> None:
        """Reset the connection: whoever sends or receives on it hears `BrokenResourceError`."""
        self._peer_is_done = True
        if self.socket.fileno() != -1:
            abort(self._sock)

    async def aclose(self) -> None:
        """Close, after letting a peer that is still sending hear what was said to it."""
        if self._closing:
            await trio.lowlevel.checkpoint()
            return
        self._closing = True
        try:
            if not self._peer_is_done:
                await self._linger()
        finally:
            self.socket.close()
        await trio.lowlevel.checkpoint()

    async def _linger(self) -> None:
        trio.lowlevel.notify_closing(self.socket)
        left = LINGER_BYTES
        with trio.move_on_after(LINGER_S):
            try:
                self.socket.shutdown(trio.socket.SHUT_WR)
                while left > 0 and (dropped := await self.socket.recv(_CHUNK)):
                    left -= len(dropped)
            except OSError:
                return

    def _check_open(self) -> None:
        if self._closing or self.socket.fileno() == -1:
            raise trio.ClosedResourceError("this side has closed")
