"""One epoll for every socket of the lane.

Trio's own `wait_readable` registers a socket before every wait. Here a
socket is registered once, for everything, edge-triggered (epoll(7)): the
kernel says when something has changed, and each watcher remembers what it
may do until the kernel told it otherwise. Trio sees a single descriptor, the
epoll itself.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final, Protocol

import trio

from actors.core import write_batch

if TYPE_CHECKING:
    from supervision import Life

# What a watcher is told with `ready`.
READABLE: Final = select.EPOLLIN
WRITABLE: Final = select.EPOLLOUT
ENDED: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
# Of `ENDED`, without a client that has only shut down its writing side and may still read.
BROKEN: Final = select.EPOLLHUP | select.EPOLLERR

_ALL: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
# Sockets looked after before what was put off is done, and how often that is done
# before other tasks have their turn: at 15 µs for each, one and four milliseconds.
SOCKETS_PER_GO: Final = 64
GOES_PER_TURN: Final = 4


class Watcher(Protocol):
    """Who cares about a socket."""

    def ready(self, mask: int) -> None:
        """The socket is now `READABLE`, `WRITABLE` or `ENDED` by its client. Must neither wait nor raise."""


class Poller:
    """Sockets, by descriptor, and who cares about each."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watchers: dict[int, Watcher] = {}
        self._again: list[tuple[int, int]] = []

    def add(self, fd: int, watcher: Watcher) -> None:
        """Tell `watcher` of every change of `fd`, beginning with how it is now."""
        self._watchers[fd] = watcher
        self._epoll.register(fd, _ALL)

    def replace(self, fd: int, watcher: Watcher) -> None:
        """From now on tell `watcher` instead. What its predecessor knew, it has to be told by it."""
        self._watchers[fd] = watcher

    def forget(self, fd: int, *, stays_open: bool = False) -> None:
        """Tell nobody any more. The caller closes `fd`, unless it `stays_open`."""
        if self._watchers.pop(fd, None) is not None and stays_open:
            self._epoll.unregister(fd)

    def again(self, fd: int, mask: int) -> None:
        """Tell the watcher of `fd` once more after others had their turn: it has not done all it could."""
        self._again.append((fd, mask))

    async def run(self, life: Life) -> None:
        """Pass on what the kernel says; for ever."""
        life.started()
        watchers = self._watchers
        while True:
            if self._again:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
            for _ in range(GOES_PER_TURN):
                again, self._again = self._again, []
                events = again + self._epoll.poll(0, SOCKETS_PER_GO)
                if not events:
                    break
                with write_batch():
                    for fd, mask in events:
                        watcher = watchers.get(fd)
                        if watcher is not None:
                            watcher.ready(mask)
