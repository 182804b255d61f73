"""A WebSocket connection, server side, as a sans-I/O state machine.

The `websockets` library parses frames and keeps the protocol's state; this class assembles messages
from fragments, hands them to the session, and bounds the bytes that wait to be written. The owner of
the socket provides a non-blocking `Sink`, and calls

    feed(data, now)   with bytes that were received
    flush()           when the sink is writable again, after `want_flush`
    eof()             when the peer has closed, or the connection is broken

Timeouts are checked in `tick`, which the session registry calls every two seconds.

Limits: a message of at most 1 MiB however many fragments it comes in; at most
256 KiB waiting to be written (or one frame, if that is larger), after which the
socket is cut. No extensions: compression would cost 100 KiB a socket.
"""

from __future__ import annotations

import codecs
import logging
from collections import deque
from typing import Final, Protocol

from websockets.frames import CloseCode as LibraryCloseCode
from websockets.frames import Frame as LibraryFrame
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from actors.core import at_batch_end
from web.channels.frames import Frame
from web.channels.session import Session
from web.channels.transport import (
    CLOSE_S,
    MAX_MESSAGE_BYTES,
    MAX_WAITING_BYTES,
    STALL_S,
    AbortReason,
    EndReason,
)

__all__ = ["AbortReason", "Sink", "WebSocket"]

# Half of the idle limit: writing finds a dead peer earlier than waiting for it does.
PING_AFTER_S: Final = 30.0
# A control frame carries 125 bytes, two of them the code (RFC 6455, section 5.5).
MAX_REASON_BYTES: Final = 123

# Python 3.11 takes 70 ns to find a member of an enum; what runs for every frame uses these.
_OPEN: Final = State.OPEN
_PING: Final = Opcode.PING
_CONT: Final = Opcode.CONT
_TEXT: Final = Opcode.TEXT
_MESSAGE: Final = frozenset({Opcode.TEXT, Opcode.BINARY})

# The library logs each connection; the session logs what matters of it.
_quiet: Final = logging.getLogger("web.channels.websocket.library")
_quiet.setLevel(logging.ERROR)


class Sink(Protocol):
    """Writes to the socket. Nothing here waits or raises."""

    def write(self, data: bytes) -> int:
        """Write what the kernel takes now; returns how many bytes, 0 if none or the peer is gone."""

    def want_flush(self) -> None:
        """Call `WebSocket.flush` once the socket is writable."""

    def finish(self, cut: AbortReason | None) -> None:
        """End the connection.

        Without `cut`, shut down the writing side and read until the peer closes; if that takes too
        long this is called again, with a cut. With `cut`, reset the connection. Either way the owner's
        read ends, and it calls `WebSocket.eof`.
        """


class WebSocket:
    """One open WebSocket, server side; the `Transport` of its session.

    Args:
        sink: Where bytes go.
        now: The time, in seconds of a clock that only goes forward.
        max_message_bytes: Of one message, fragments together.
        max_waiting_bytes: Of frames the sink has not taken.
    """

    __slots__ = (
        "_closing_since",
        "_corked",
        "_corked_bytes",
        "_finished",
        "_fragments",
        "_max_waiting_bytes",
        "_now",
        "_pinged",
        "_protocol",
        "_read_at",
        "_session",
        "_sink",
        "_taken_at",
        "_text",
        "_waiting",
        "_waiting_bytes",
    )

    def __init__(
        self,
        sink: Sink,
        *,
        now: float,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self._protocol = ServerProtocol(state=State.OPEN, max_size=max_message_bytes, logger=_quiet)
        self._sink = sink
        self._session: Session | None = None
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting: deque[bytes] | None = None
        self._waiting_bytes = 0
        self._corked: list[bytes] | None = None
        self._corked_bytes = 0
        self._fragments: bytearray | None = None
        self._text: codecs.IncrementalDecoder | None = None
        self._now = self._read_at = self._taken_at = now
        self._pinged = False
        self._closing_since: float | None = None
        self._finished = False

    def attach(self, session: Session) -> None:
        """Set the session; once, before anything else."""
        self._session = session

    # -- for the owner of the socket -------------------------------------------------

    def feed(self, data: bytes, now: float) -> None:
        """Take bytes from the socket; the session has handled their messages when this returns."""
        self._now = self._read_at = now
        self._pinged = False
        self._protocol.receive_data(data)
        if self._corked is None:
            self._corked = []
        try:
            for event in self._protocol.events_received():
                if isinstance(event, LibraryFrame):
                    self._take(event)
        finally:
            self._uncork()

    def flush(self) -> None:
        """Write what waits, as far as there is room."""
        waiting = self._waiting
        if waiting is None:
            return
        while waiting:
            taken = self._sink.write(waiting[0])
            if taken:
                self._taken_at = self._now
                self._waiting_bytes -= taken
            if taken < len(waiting[0]):
                waiting[0] = waiting[0][taken:]
                self._sink.want_flush()
                return
            waiting.popleft()
        self._waiting = None
        self._finish_if_done()
        if self._session is not None and not self._finished:
            self._session.writable()

    def eof(self) -> None:
        """The connection has ended: tell the session. Does nothing the second time."""
        self._finished = True
        self._closing_since = None
        self._protocol.state = State.CLOSED
        self._drop_waiting()
        session, self._session = self._session, None
        if session is not None:
            session.closed()

    # -- for the session -------------------------------------------------------------

    @property
    def is_backpressured(self) -> bool:
        """Whether frames wait to be written."""
        return self._waiting is not None

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait to be written."""
        return self._waiting_bytes

    def send(self, frame: Frame) -> None:
        """Write a frame, together with others of the same write batch, or keep it until there is room."""
        if self._corked is not None:
            # Goes before the close that the library may have ready for what came after.
            if self._closing_since is None:
                self._cork(frame.websocket)
        elif self._protocol.state is _OPEN:
            data = frame.websocket
            self._corked, self._corked_bytes = [data], len(data)
            at_batch_end(self._uncork)

    def close(self, code: int, reason: str) -> None:
        """Send a close frame; the socket ends when the client answers it, or after 5 s."""
        if self._protocol.state is _OPEN:
            self._protocol.send_close(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))
            self._closing_since = self._now
            if self._corked is None:
                self._pump([])

    def abort(self) -> None:
        """Reset the connection, unless it is being reset already."""
        if not self._finished or self._closing_since is not None:
            self._abort(AbortReason.NO_CLOSE)

    def tick(self, now: float) -> None:
        """Ping a quiet client; abort one that does not read, or does not answer our close frame."""
        self._now = now
        if self._waiting is not None and now - self._taken_at >= STALL_S:
            self._abort(AbortReason.STALLED)
        elif self._closing_since is not None and now - self._closing_since >= CLOSE_S:
            self._abort(AbortReason.NO_CLOSE)
        elif not self._pinged and now - self._read_at >= PING_AFTER_S:
            self._pinged = True
            self._ping()

    def _ping(self) -> None:
        if self._protocol.state is _OPEN:
            self._protocol.send_ping(b"")
            self._pump([])

    # -- reading ---------------------------------------------------------------------

    def _take(self, frame: LibraryFrame) -> None:
        if frame.opcode is _PING:
            if self._session is not None:
                self._session.heard(self._now)
        elif frame.opcode in _MESSAGE and frame.fin:
            self._deliver(bytes(frame.data), is_text=frame.opcode is _TEXT)
        elif frame.opcode in _MESSAGE or frame.opcode is _CONT:
            self._gather(frame)

    def _gather(self, frame: LibraryFrame) -> None:
        """Append a fragment to its message; the library has checked order and size."""
        if frame.opcode is not _CONT:
            # One buffer, not a list: a fragment may be empty, and there may be any number of them.
            self._fragments = bytearray()
            self._text = codecs.getincrementaldecoder("utf-8")() if frame.opcode is _TEXT else None
        if self._fragments is None:
            return  # the text so far was not UTF-8, and the socket is closing
        self._fragments += frame.data
        if self._text is not None:
            try:
                self._text.decode(frame.data, frame.fin)
            except UnicodeDecodeError:
                self._fail_text()
                return
        if frame.fin:
            data, is_text = bytes(self._fragments), self._text is not None
            self._fragments = self._text = None
            self._deliver(data, is_text=is_text)

    def _deliver(self, data: bytes, *, is_text: bool) -> None:
        message: str | bytes = data
        if is_text:
            try:
                message = data.decode()
            except UnicodeDecodeError:
                self._fail_text()
                return
        # Once closing, what the client still sends is not handled (RFC 6455, section 1.4).
        if self._session is not None and self._closing_since is None and not self._finished:
            self._session.receive(message, self._now)

    def _fail_text(self) -> None:
        self._fragments = self._text = None
        self._protocol.fail(LibraryCloseCode.INVALID_DATA, "text is not UTF-8")
        self._closing_since = self._now

    # -- writing ---------------------------------------------------------------------

    def _cork(self, data: bytes) -> None:
        """Keep a frame until the write batch ends; past the limit, write the others first."""
        self._corked_bytes += len(data)
        if self._corked_bytes > self._max_waiting_bytes and self._corked:
            corked, self._corked = self._corked, []
            self._corked_bytes = len(data)
            self._write(b"".join(corked))
        if self._corked is not None and not self._finished:
            self._corked.append(data)

    def _uncork(self) -> None:
        """Write the frames of this batch at once, unless that has happened already."""
        corked, self._corked = self._corked, None
        self._corked_bytes = 0
        if corked is not None:
            self._pump(corked)

    def _pump(self, before: list[bytes]) -> None:
        """Write our frames, then the library's: pongs, the close frame, the end of the stream."""
        data = b"".join(before)
        theirs = self._protocol.data_to_send()
        if theirs:
            data += b"".join(theirs)
        self._write(data)
        if self._protocol.eof_sent:
            if self._session is not None:
                has_closed = self._protocol.close_rcvd is not None
                self._session.hang_up(EndReason.CLIENT_GONE if has_closed else EndReason.PROTOCOL)
            self._finish_if_done()

    def _write(self, data: bytes) -> None:
        if self._finished or not data:
            return
        if self._waiting is not None:
            self._wait(data)
            return
        taken = self._sink.write(data)
        if taken < len(data):
            self._waiting = deque()
            self._taken_at = self._now
            self._wait(data[taken:])
            self._sink.want_flush()

    def _wait(self, data: bytes) -> None:
        if self._waiting and self._waiting_bytes + len(data) > self._max_waiting_bytes:
            self._abort(AbortReason.OVERFLOW)
        elif self._waiting is not None:
            self._waiting.append(data)
            self._waiting_bytes += len(data)

    def _finish_if_done(self) -> None:
        if self._protocol.eof_sent and self._waiting is None and not self._finished:
            self._finished = True
            if self._closing_since is None:
                self._closing_since = self._now
            self._sink.finish(None)

    def _abort(self, why: AbortReason) -> None:
        if self._session is not None:
            self._session.aborted(why, self._waiting_bytes)
        self._finished = True
        self._closing_since = None
        self._drop_waiting()
        # What is sent from here on is dropped.
        self._protocol.state = State.CLOSED
        self._sink.finish(why)

    def _drop_waiting(self) -> None:
        self._waiting = None
        self._waiting_bytes = 0
