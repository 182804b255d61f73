"""The loop that accepts connections; supervised, and cheap to lose: the listening socket is not its own."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from supervision import Life

logger = logging.getLogger(__name__)

# Others have their turn after so many.
ACCEPTS_PER_TURN: Final = 64
# Out of descriptors or memory: connections wait in the backlog for as long.
PAUSE_S: Final = 0.1
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# What accept(2) reports about one connection that went wrong before we had it.
NOT_OURS: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPROTO,
        errno.EPERM,
        errno.ENETDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EOPNOTSUPP,
        errno.ENOPROTOOPT,
        errno.EINTR,
        errno.ETIMEDOUT,
    }
)


class Acceptor:
    """Accepts from one listening socket.

    Args:
        listener: Not blocking; closed by whoever opened it.
        admit: Takes an accepted socket over.
    """

    def __init__(self, listener: socket.socket, admit: Callable[[socket.socket], None]) -> None:
        self._listener = listener
        self._admit = admit
        self.pauses = 0
        self._paused_for: str | None = None

    async def run(self, life: Life) -> None:
        """Accept until cancelled."""
        life.started()
        while True:
            await trio.lowlevel.wait_readable(self._listener)
            for _ in range(ACCEPTS_PER_TURN):
                sock = await self._accept()
                if sock is None:
                    break
                self._admit(sock)

    async def _accept(self) -> socket.socket | None:
        """The next connection; None if there is none now, or it is time for a break."""
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            # The backlog is empty: only now the shortage is over.
            self._paused_for = None
            return None
        except OSError as error:
            if error.errno in EXHAUSTED:
                self.pauses += 1
                self._note_pause(errno.errorcode[error.errno])
                await trio.sleep(PAUSE_S)
            elif error.errno not in NOT_OURS:
                raise
            return None
        sock.settimeout(0)
        return sock

    def _note_pause(self, reason: str) -> None:
        """Log when the state begins or its reason changes, not at each of ten tries a second."""
        if reason != self._paused_for:
            logger.warning("accept_paused", extra={"reason": reason})
        self._paused_for = reason
