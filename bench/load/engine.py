"""The event loop: epoll, handlers by file descriptor, and a timer heap."""

from __future__ import annotations

import heapq
import select
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

Handler = Callable[[], None]

# Few enough that the time stamp taken once per batch is fresh (about 0.5 ms at
# 2 µs an event), many enough that the system call is cheap.
BATCH: Final = 256
# epoll waits in whole milliseconds; nearer timers wait in select(), which knows microseconds.
COARSE_NS: Final = 2_000_000


class Engine:
    """Calls handlers when their sockets are ready and timers when they are due.

    Owns the sockets it watches: those still watched at the end of the `with` are closed.

    Attributes:
        now_ns: `time.perf_counter_ns` when the batch under way was reported ready.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._sockets: dict[int, socket.socket] = {}
        self._timers: list[tuple[int, int, Handler]] = []
        self._timer_count = 0
        self.now_ns = time.perf_counter_ns()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._epoll.close()
        for each in self._sockets.values():
            each.close()

    def watch(self, watched: socket.socket, handler: Handler, *, writable: bool = False) -> None:
        """Call `handler` whenever a socket is readable (or `writable` instead)."""
        mask = select.EPOLLOUT if writable else select.EPOLLIN
        fd = watched.fileno()
        if fd in self._handlers:
            self._epoll.modify(fd, mask)
        else:
            self._epoll.register(fd, mask)
        self._handlers[fd] = handler
        self._sockets[fd] = watched

    def forget(self, watched: socket.socket) -> None:
        """Stop watching a socket; call before it is closed. Harmless when it is closed."""
        fd = watched.fileno()
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)
            del self._sockets[fd]

    def at(self, when_ns: int, handler: Handler) -> None:
        """Call `handler` once, at `when_ns` or as soon after as the loop gets to it."""
        self._timer_count += 1
        heapq.heappush(self._timers, (when_ns, self._timer_count, handler))

    def run(self, duration_s: float, until: Callable[[], bool] | None = None) -> bool:
        """Run for `duration_s`, or until `until()` holds; tell whether it did.

        `until` is asked after each batch, so it should be cheap.
        """
        end_ns = time.perf_counter_ns() + int(duration_s * 1e9)
        while True:
            self.now_ns = time.perf_counter_ns()
            self._run_timers()
            if until is not None and until():
                return True
            if self.now_ns >= end_ns:
                return False
            self._run_ready(end_ns)

    def _run_timers(self) -> None:
        timers = self._timers
        while timers and timers[0][0] <= self.now_ns:
            heapq.heappop(timers)[2]()

    def _run_ready(self, end_ns: int) -> None:
        handlers = self._handlers
        ready = self._epoll.poll(self._wait_s(end_ns), BATCH)
        self.now_ns = time.perf_counter_ns()
        for fd, _ in ready:
            handler = handlers.get(fd)
            if handler is not None:
                handler()

    def _wait_s(self, end_ns: int) -> float:
        next_ns = min(end_ns, self._timers[0][0]) if self._timers else end_ns
        wait_ns = max(0, next_ns - time.perf_counter_ns())
        if wait_ns > COARSE_NS:
            return (wait_ns - COARSE_NS // 2) / 1e9
        if wait_ns:
            select.select([self._epoll], [], [], wait_ns / 1e9)
        return 0
