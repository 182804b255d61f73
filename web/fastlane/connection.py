"""A connection's socket, what was read of it and not used, and how long its client may dawdle."""

from __future__ import annotations

import socket
from typing import Final, NamedTuple

import trio

RECEIVE_BYTES: Final = 64 * 1024


class Patience(NamedTuple):
    """How long a client may take, in seconds.

    Attributes:
        head_s: For the rest of a head, once its first byte is here.
        body_s: For a whole body.
        idle_s: Between two requests.
        send_s: For the next byte of an answer to be taken.
    """

    head_s: float = 10.0
    body_s: float = 30.0
    idle_s: float = 60.0
    send_s: float = 60.0


class Connection:
    """A non-blocking socket that one task reads and writes.

    Instead of a cancel scope around every wait it has a deadline, which
    somebody looks at now and then (`hang_up` wakes the task that waits).

    Attributes:
        sock: The socket. Closed by whoever owns the connection.
        peer: The client's address.
        data: What was read and not used.
        deadline: When the client has taken too long, on trio's clock.
    """

    __slots__ = ("data", "deadline", "peer", "sock")

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.sock = sock
        self.peer = peer
        self.data = b""
        self.deadline = float("inf")

    async def receive(self, patience_s: float) -> bool:
        """Read what there is; false at the end. The deadline is set only if that means waiting."""
        while True:
            try:
                got = self.sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                self.deadline = trio.current_time() + patience_s
                await trio.lowlevel.wait_readable(self.sock)
            except OSError:
                return False
            else:
                self.data = self.data + got if self.data else got
                return bool(got)

    async def send(self, data: bytes, patience_s: float) -> bool:
        """Write all of `data`, with `patience_s` for each part; false if the client is gone."""
        rest: bytes | memoryview = data
        while True:
            try:
                sent = self.sock.send(rest)
            except BlockingIOError:
                sent = 0
            except OSError:
                return False
            if sent == len(rest):
                return True
            rest = memoryview(rest)[sent:]
            self.deadline = trio.current_time() + patience_s
            await trio.lowlevel.wait_writable(self.sock)

    def hang_up(self) -> None:
        """End both directions: whoever waits for this socket wakes up and finds it at its end."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the client was quicker
