"""Many streams opened with a bounded number under way."""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from bench.errors import TargetError
from bench.load.engine import Engine
from bench.load.sockets import Address, begin_connect, need_files
from bench.load.stream import Stream

# Below the smallest usual listen backlog (nginx 511, Hypercorn 100 by default), so that
# the figure is the server's accept rate and not the kernel's SYN retry of one second.
UNDER_WAY: Final = 64


class Opening:
    """Opens one stream per request, in order, at most `UNDER_WAY` at a time.

    Attributes:
        streams: The open ones, in the order in which they opened.
        took_ns: For each, nanoseconds from the start of the connect to the head.
    """

    def __init__(self, engine: Engine, address: Address, requests: Sequence[bytes]) -> None:
        need_files(len(requests))
        self.streams: list[Stream] = []
        self.took_ns: list[int] = []
        self._engine = engine
        self._address = address
        self._requests = requests
        self._waiting = deque(range(len(requests)))
        self._under_way = 0

    def run(self, *, timeout_s: float) -> None:
        """Open them all.

        Raises:
            TargetError: One was refused, or they were not all open in time.
        """
        self._go_on()
        if not self._engine.run(timeout_s, self._is_done):
            raise TargetError(
                f"only {len(self.streams)} of {len(self._requests)} streams opened in {timeout_s:g} s"
            )

    def _is_done(self) -> bool:
        return len(self.streams) == len(self._requests)

    def _go_on(self) -> None:
        while self._waiting and self._under_way < UNDER_WAY:
            self._under_way += 1
            self._begin(self._waiting.popleft())

    def _begin(self, nth: int) -> None:
        begun_ns = self._engine.now_ns
        connection = begin_connect(self._address, nth)

        def request() -> None:
            self._engine.forget(connection.fileno())
            _send_whole(connection, self._requests[nth])
            Stream(self._engine, connection, nth).open(opened)

        def opened(stream: Stream) -> None:
            self._under_way -= 1
            self.streams.append(stream)
            self.took_ns.append(self._engine.now_ns - begun_ns)
            self._go_on()

        self._engine.watch(connection.fileno(), request, writable=True)


def _send_whole(connection: socket.socket, request: bytes) -> None:
    """Send a request that fits into a fresh socket's buffer."""
    try:
        connection.sendall(request)
    except OSError as wrong:
        name = errno.errorcode.get(wrong.errno or 0, str(wrong))
        raise TargetError(f"a stream's connection failed: {name}") from wrong


def open_streams(
    engine: Engine,
    address: Address,
    requests: Sequence[bytes],
    *,
    timeout_s: float = 60.0,
    on_progress: Callable[[], None] | None = None,
) -> list[Stream]:
    """Open a stream for each of `requests` and return them, sorted by their place."""
    opening = Opening(engine, address, requests)
    opening.run(timeout_s=timeout_s)
    if on_progress:
        on_progress()
    return sorted(opening.streams, key=lambda stream: stream.nth)
