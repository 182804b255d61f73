"""The lifeline: a pair of connected sockets between a worker and its parent.

The worker writes a byte a second from its trio loop, so that the parent sees a loop that stands still, and
`READY` once it serves. The parent writes `HAND_OVER` when a successor accepts from the same socket. Either
sees the other's end as the end of the stream: a worker whose parent is gone stops in order.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import trio

if TYPE_CHECKING:
    import socket

BEAT: Final = b"."
READY: Final = b"R"
HAND_OVER: Final = b"H"
BEAT_EVERY_S: Final = 1.0
BYTES_AT_ONCE: Final = 4096


class Stoppable(Protocol):
    """What the lifeline stops."""

    def stop(self, *, hand_over: bool = False) -> None:
        """Drain and end."""


def write_byte(sock: socket.socket, byte: bytes) -> None:
    """Write without waiting. A full buffer holds enough heartbeats, and a peer that is gone needs none."""
    with suppress(OSError):
        sock.send(byte)


async def beat(sock: socket.socket) -> None:
    """Send heartbeats until cancelled."""
    while True:
        write_byte(sock, BEAT)
        await trio.sleep(BEAT_EVERY_S)


async def obey(sock: socket.socket, program: Stoppable) -> None:
    """Stop `program` when the parent says so, or is gone."""
    while True:
        await trio.lowlevel.wait_readable(sock)
        said = read_some(sock)
        if said == b"":
            program.stop()
            return
        if said is not None and HAND_OVER in said:
            program.stop(hand_over=True)


def read_some(sock: socket.socket) -> bytes | None:
    """What has come; None if nothing has, empty at the end of the stream."""
    try:
        return sock.recv(BYTES_AT_ONCE)
    except BlockingIOError:
        return None
    except OSError:
        return b""
