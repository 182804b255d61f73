"""A connection: its state, its socket, its read buffer, and its deadline.

The states, and what leads from one to the next:

                 first byte                whole head                whole body
        IDLE ──────────────▶ READING_HEAD ────────────▶ READING_BODY ──────────▶ ANSWERING
         ▲                                                                        │      │
         │ sent, and the connection goes on                               answer  │      │ event stream,
         └──────────────────────────────────────────── SENDING ◀──────────────────┘      │ WebSocket
                                                          │ sent, and it was the last    ▼
                                                          ▼                            TAKEN
                                                       CLOSING ──▶ closed

A state is skipped where there is nothing to wait for: a request that comes
whole goes from IDLE to ANSWERING. Whatever the state, the connection ends when
its client is gone or its deadline has passed; a head or a body that is late is
answered 408 first. While an answer is made there is no deadline: that is not
the client's time.
"""

from __future__ import annotations

import math
import re
import socket
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import trio

from web.fastlane.head import Head, HeadReader
from web.fastlane.poller import BROKEN, ENDED, READABLE, WRITABLE
from web.handlers.dispatcher import BODY_BYTES_PER_S, BODY_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from web.handlers.dispatcher import Pending
    from web.handlers.http import Answer

# `recv` makes an object of this size and shrinks it: 64 KiB would cost 6 % of all requests.
RECEIVE_BYTES: Final = 16 * 1024
# Not a character that is escaped, ends a segment or begins a query.
_IS_PLAIN_ID: Final = re.compile(rb"[A-Za-z0-9_-]+").fullmatch


class State(Enum):
    """What a connection is doing; see the drawing above."""

    IDLE = "idle"
    READING_HEAD = "reading_head"
    READING_BODY = "reading_body"
    ANSWERING = "answering"
    SENDING = "sending"
    CLOSING = "closing"
    TAKEN = "taken"


# Python 3.11 takes 70 ns to find a member of an enum; what runs for every request uses these.
IDLE: Final = State.IDLE
ANSWERING: Final = State.ANSWERING


class Timeouts(NamedTuple):
    """How long a client may take.

    Attributes:
        head_s: Seconds for a whole head, from its first byte.
        body_s: Seconds for a whole body, beside what `body_bytes_per_s` allows for its length.
        body_bytes_per_s: What a slow client has to send at the least.
        idle_s: Seconds between two requests.
        send_s: Seconds for the next part of an answer to be taken.
        linger_s: Seconds to hear the last answer and close.
    """

    head_s: float = 10.0
    body_s: float = BODY_S
    body_bytes_per_s: float = BODY_BYTES_PER_S
    idle_s: float = 60.0
    send_s: float = 60.0
    linger_s: float = 1.0


class Serve(NamedTuple):
    """A head that asks for an answer of an endpoint.

    Attributes:
        pending: The request, up to its body.
        body_at: Where its body begins, counted from the beginning of the head.
        end: Where its body ends, unless it is chunked.
        head: What was parsed.
        keep_alive: Whether the connection goes on after the answer.
        inline: Whether the answer needs no task, only actors, and the body is of a stated length.
    """

    pending: Pending
    body_at: int
    end: int
    head: Head
    keep_alive: bool
    inline: bool


class Upgrade(NamedTuple):
    """A head that opens a WebSocket.

    Attributes:
        head: What was parsed.
        body_at: Where its first frame begins, counted from the beginning of the head.
    """

    head: Head
    body_at: int


class Refuse(NamedTuple):
    """A head that is answered without its body.

    Attributes:
        answer: Not finalized.
        body_at: Where its body, if it has one, would begin.
        head: What was parsed; None where it is malformed.
        keep_alive: Whether the connection goes on, which it cannot where a body follows.
    """

    answer: Answer
    body_at: int = 0
    head: Head | None = None
    keep_alive: bool = False


# What a head means.
ParsedRequest: TypeAlias = Serve | Upgrade | Refuse


class CachedHead(NamedTuple):
    """A parsed head cached without its last path segment; matches requests that differ only there.

    A client that writes many rooms repeats its head but for the id: such a head is not parsed again.

    Attributes:
        before: Up to the id.
        after: From the id on.
        parsed: What the head meant.
    """

    before: bytes
    after: bytes
    parsed: Serve

    @classmethod
    def of(cls, head: bytes, parsed: Serve) -> CachedHead | None:
        """Leave the id out; None where the target does not end in a plain id of its path."""
        end = head.find(b" HTTP/1.1\r\n")
        begin = head.rfind(b"/", 0, end) + 1
        if end < 0 or b"?" in head[:end] or not _IS_PLAIN_ID(head[begin:end]):
            return None
        return cls(head[:begin], head[end:], parsed)

    def fill(self, data: bytes) -> tuple[str, bytes] | None:
        """The id and the body; None unless `data` is one whole request that matches.

        The id is not validated: it may hold any bytes, line ends too. Where it is a plain id, the
        head is the cached one but for that id.
        """
        before, after, parsed = self
        end = len(data) - (parsed.end - parsed.body_at) - len(after)
        begin = len(before)
        if end <= begin or not (data.startswith(before) and data.startswith(after, end)):
            return None
        return data[begin:end].decode("latin-1"), data[end + len(after) :]

    def read(self, head: bytes) -> Serve | None:
        """What `head` means, if it differs from the one before in nothing but a plain id."""
        before, after, parsed = self
        if not (head.startswith(before) and head.endswith(after)):
            return None
        last = head[len(before) : len(head) - len(after)]
        if not _IS_PLAIN_ID(last):
            return None
        request = parsed.pending.request
        request = request._replace(segments=(*request.segments[:-1], last.decode()))
        pending = parsed.pending._replace(request=request)
        length = parsed.end - parsed.body_at
        return parsed._replace(pending=pending, body_at=len(head), end=len(head) + length)


class PendingWrite(NamedTuple):
    """What is still to be done about an answer.

    Attributes:
        rest: Bytes to send; None if the client is gone.
        keep_alive: Whether the connection goes on after them.
    """

    rest: memoryview | None
    keep_alive: bool


class Connection:
    """A non-blocking socket that one task reads and writes; watches it in the poller.

    Made by that task. Instead of a cancel scope around every wait it has a
    deadline, which somebody looks at now and then (`hang_up` wakes the task).

    Attributes:
        sock: The socket. Closed by whoever owns the connection.
        peer: The client's address.
        data: What was read and not used.
        state: What it is doing.
        deadline: When the client has taken too long, on trio's clock.
        mask: What the kernel said of the socket, less what has turned out to be over.
        reader: Reads its heads.
        head: The last one that an endpoint serves.
        parsed: What that means.
        cached_head: For heads that differ from an earlier one in an id only.
        at_once_head: The same, if its endpoint may answer at once or by callback.
        pending_write: Of an answer that was given while the task slept.
        on_ended: Called when the client has gone while its answer is made.
    """

    __slots__ = (
        "_is_parked",
        "_on_readable",
        "_task",
        "_was_called",
        "at_once_head",
        "cached_head",
        "data",
        "deadline",
        "head",
        "mask",
        "on_ended",
        "parsed",
        "peer",
        "pending_write",
        "reader",
        "sock",
        "state",
    )

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.sock = sock
        self.peer = peer
        self.data = b""
        self.state: State = IDLE
        self.deadline = math.inf
        self.mask = WRITABLE
        self.reader = HeadReader()
        self.head = b""
        self.parsed: Serve | None = None
        self.cached_head: CachedHead | None = None
        self.at_once_head: CachedHead | None = None
        self.pending_write: PendingWrite | None = None
        self.on_ended: Callable[[], None] | None = None
        self._task = trio.lowlevel.current_task()
        self._is_parked = False
        self._was_called = False
        self._on_readable: Callable[[Connection], bool] | None = None

    def enter(self, state: State, deadline: float = math.inf) -> None:
        """Be in `state`, until `deadline` at the latest."""
        self.state = state
        self.deadline = deadline

    def ready(self, mask: int) -> None:
        """The kernel says that the socket can do more than before."""
        self.mask |= mask
        if self.state is ANSWERING:
            if mask & ENDED and self.on_ended is not None:
                self.on_ended()
        elif self._is_parked:
            if mask & READABLE and self._on_readable is not None and self._on_readable(self):
                return
            self._wake()

    def call(self) -> None:
        """Wake the task that waits in `receive`: there is something to do without reading."""
        self._was_called = True
        self._wake()

    def _wake(self) -> None:
        if self._is_parked:
            self._is_parked = False
            self._on_readable = None
            trio.lowlevel.reschedule(self._task)

    def _give_up(self, _raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self._is_parked = False
        self._on_readable = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def receive(self, on_readable: Callable[[Connection], bool] | None = None) -> bool:
        """Read what there is, waiting for it if need be; false at the end.

        Args:
            on_readable: Asked while this waits and something can be read: true if it has read
                and done everything, so that the task sleeps on.
        """
        while True:
            if self.mask & (READABLE | ENDED):
                got = self.read()
                if got is not None:
                    return got
            self._on_readable = on_readable
            self._is_parked = True
            await trio.lowlevel.wait_task_rescheduled(self._give_up)
            if self._was_called:
                self._was_called = False
                return True

    def read(self) -> bool | None:
        """Read once: true if there was something, false at the end, None if there is nothing yet."""
        try:
            got = self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            self.mask &= ~READABLE
            return None
        except OSError:
            return False
        if len(got) < RECEIVE_BYTES:
            # A short read has emptied the socket (epoll(7), "Questions and answers", 9).
            self.mask &= ~READABLE
        self.data = self.data + got if self.data else got
        return bool(got)

    def send_now(self, data: bytes | memoryview) -> int:
        """Write as much of `data` as there is room for: how many bytes; -1 if the client is gone."""
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return -1

    async def send_rest(self, rest: memoryview, timeout_s: float) -> bool:
        """Write what `send_now` left, with `timeout_s` for each part; false if the client is gone."""
        while rest:
            self.mask &= ~WRITABLE
            self.enter(State.SENDING, trio.current_time() + timeout_s)
            while not self.mask & (WRITABLE | BROKEN):
                self._is_parked = True
                await trio.lowlevel.wait_task_rescheduled(self._give_up)
            sent = self.send_now(rest)
            if sent < 0 or (not sent and self.mask & BROKEN):
                return False
            rest = rest[sent:]
        return True

    def shut_down_writing(self) -> None:
        """Say that nothing more will be sent."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the client was quicker

    def hang_up(self) -> None:
        """End both directions: whoever waits for this socket wakes up and finds it at its end."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the client was quicker
