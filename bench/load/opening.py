"""Open many streams with a bounded number in flight."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final

from bench.errors import TargetError
from bench.load.engine import Engine
from bench.load.sockets import NOT_YET, Address, begin_connect, need_files, secure, tls_failed
from bench.load.stream import Stream

# Below the smallest usual listen backlog (nginx 511, Hypercorn 100 by default), so that
# the figure is the server's accept rate and not the kernel's SYN retry of one second.
UNDER_WAY: Final = 64

# Given a stream's place among its siblings, returns the request that opens it.
MakeRequest = Callable[[int], bytes]
# Given the engine, a connection and the stream's place, returns the stream.
MakeStream = Callable[[Engine, socket.socket, int], Stream]


class StreamOpener:
    """Opens streams in order, at most `UNDER_WAY` at a time.

    Attributes:
        streams: The open ones, in the order in which they opened.
        took_ns: For each, nanoseconds from the start of the connect to the head.
    """

    def __init__(
        self,
        engine: Engine,
        address: Address,
        count: int,
        make: MakeRequest,
        make_stream: MakeStream = Stream,
    ) -> None:
        need_files(count)
        self.streams: list[Stream] = []
        self.took_ns: list[int] = []
        self._engine = engine
        self._address = address
        self._count = count
        self._make = make
        self._make_stream = make_stream
        self._next = 0
        self._under_way = 0

    def run(self, *, timeout_s: float) -> None:
        """Open them all.

        Raises:
            TargetError: One was refused, or they were not all open in time.
        """
        self._go_on()
        if not self._engine.run(timeout_s, self._is_done):
            raise TargetError(f"only {len(self.streams)} of {self._count} streams opened in {timeout_s:g} s")

    def _is_done(self) -> bool:
        return len(self.streams) == self._count

    def _go_on(self) -> None:
        while self._next < self._count and self._under_way < UNDER_WAY:
            self._under_way += 1
            self._begin(self._next)
            self._next += 1

    def _begin(self, nth: int) -> None:
        begun_ns = self._engine.now_ns
        connection = begin_connect(self._address, nth)

        def connected() -> None:
            self._engine.forget(connection)
            if self._address.tls is None:
                request(connection)
                return
            secured = secure(self._address.tls, self._address, connection, handshake=False)
            self._shake_hands(secured, lambda: request(secured))

        def request(usable: socket.socket) -> None:
            _send_whole(usable, self._make(nth))
            self._make_stream(self._engine, usable, nth).open(opened)

        def opened(stream: Stream) -> None:
            self._under_way -= 1
            self.streams.append(stream)
            self.took_ns.append(self._engine.now_ns - begun_ns)
            self._go_on()

        self._engine.watch(connection, connected, writable=True)

    def _shake_hands(self, connection: ssl.SSLSocket, then: Callable[[], None]) -> None:
        """Go on with a TLS handshake whenever the connection is ready, then call `then`."""

        def go_on() -> None:
            try:
                connection.do_handshake()
            except NOT_YET as wait:
                self._engine.watch(connection, go_on, writable=isinstance(wait, ssl.SSLWantWriteError))
            except (OSError, ValueError) as wrong:
                connection.close()
                raise tls_failed(
                    self._address, wrong if isinstance(wrong, OSError) else OSError(wrong)
                ) from wrong
            else:
                self._engine.forget(connection)
                then()

        go_on()


def _send_whole(connection: socket.socket, request: bytes) -> None:
    """Send a request that fits into a fresh socket's buffer."""
    try:
        connection.sendall(request)
    except OSError as wrong:
        connection.close()
        name = errno.errorcode.get(wrong.errno or 0, str(wrong))
        raise TargetError(f"a stream's connection failed: {name}") from wrong


def open_streams(
    engine: Engine,
    address: Address,
    count: int,
    make: MakeRequest,
    *,
    timeout_s: float = 60.0,
) -> list[Stream]:
    """Open `count` streams and return them, sorted by their place."""
    opening = StreamOpener(engine, address, count, make)
    opening.run(timeout_s=timeout_s)
    return sorted(opening.streams, key=lambda stream: stream.nth)
