"""HTTP/2 as Hypercorn speaks it, made to bear what strangers send.

A stream's fault costs that stream: it is answered or reset, and its neighbours
go on. A connection's fault is told by GOAWAY and logged at debug; it is no
trace in the log. What a client leaves behind ends with its connection.

Bounds of one connection:

    time      a head within 10 s of its first byte; a body at a minimum rate and an answer's next part
              within STREAM_STALL_SECONDS (the application's deadlines); 60 s without a request
    memory    a head 16 KiB (431), at 64 KiB the connection ends; request bodies 4 MiB together;
              of each answer 32 KiB
    streams   100 at a time: one more is refused, not the connection ended
    frames    `FrameBudget`
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, Final

import h2.config
import h2.connection
import h2.events
import trio
from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError, H2Error, InvalidBodyLengthError, ProtocolError
from h2.frame_buffer import FrameBuffer
from h2.settings import SettingCodes
from hpack.exceptions import HPACKError
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.http_stream import ASGIHTTPState
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame

from web.server.flow_control import RoundRobin
from web.server.http2_rules import HEAD_BYTES, FrameBudget, head_refusal
from web.server.stall_timeout import CONNECTION, StallTimeoutStream

if TYPE_CHECKING:
    from hyperframe.frame import Frame

    from web.handlers.http import Answer

logger = logging.getLogger(__name__)

CLOSED: Final = h2.connection.ConnectionState.CLOSED
# What makes the library give up on a connection: its own errors, and those of bytes it did not expect.
BROKEN: Final = (H2Error, HPACKError, HyperframeError, LookupError, ValueError)
# A head up to here is read and answered 431: what is cut off in the middle would leave the table of
# known fields behind the client's, and no later head could be read.
READ_HEAD_BYTES: Final = 4 * HEAD_BYTES
HEAD_S: Final = 10.0
# Of all requests of a connection that are not answered yet.
BODY_BYTES: Final = 4 << 20
RECEIVE_BYTES: Final = 64 * 1024
# Parsed in one go; at 9 bytes for the shortest frame, some ten milliseconds.
SLICE_BYTES: Final = 4096
# A shorter part of an answer, though more follows, is what a client gets that gives credit by the byte.
SMALL_FRAME: Final = 64
# Where a connection keeps what every answer passes through, as `Dispatcher.finalize`.
FINALIZE: Final = "greenroom.finalize"
LATE: Final = "the head did not arrive in time"


class BoundedFrames(FrameBuffer):
    """The library's buffer of received bytes, which refuses a long frame or head before it is all here."""

    @property
    def is_in_head(self) -> bool:
        """Whether a head, or another frame than DATA, has begun and is not all here."""
        data = self._data
        return bool(self._preamble_len or self._headers_buffer or (data and data[3:4] != b"\0"))

    def __next__(self) -> Frame:
        if len(self._data) >= 3:  # noqa: PLR2004  # the length of the frame
            self._validate_frame_length(int.from_bytes(self._data[:3]))
        return super().__next__()

    def _update_header_buffer(self, f: Frame | None) -> Frame | None:
        whole = super()._update_header_buffer(f)
        if sum(len(part.data) for part in self._headers_buffer) > READ_HEAD_BYTES:
            raise DenialOfServiceError("the head is too long")
        return whole


class BoundedConnection(h2.connection.H2Connection):
    """The library's connection, which ends for fewer faults and bears fewer frames that ask nothing."""

    # Remembered to tell late frames from wrong ones; the library remembers 65,536.
    MAX_CLOSED_STREAMS = 1000

    def __init__(self, max_streams: int) -> None:
        # Repeated cookies are joined elsewhere: two empty ones make a value that the library refuses.
        config = h2.config.H2Configuration(
            client_side=False, header_encoding=None, normalize_inbound_headers=False
        )
        super().__init__(config)
        self.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: max_streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: HEAD_BYTES,
            },
        )
        self.decoder.max_header_list_size = READ_HEAD_BYTES
        self.incoming_buffer: BoundedFrames = BoundedFrames(server=True)
        self._budget = FrameBudget(trio.current_time())

    @property
    def open_inbound_streams(self) -> int:
        """None, for the library's own check, which would end the connection; forgets closed streams."""
        _ = super().open_inbound_streams
        return 0

    def is_open(self, stream_id: int) -> bool:
        """Whether either side may still send on a stream."""
        stream = self.streams.get(stream_id)
        return stream is not None and not stream.closed and self.state_machine.state is not CLOSED

    def spend(self, tokens: int) -> None:
        """Take tokens from the budget of frames.

        Raises:
            DenialOfServiceError: There are none left.
        """
        if not self._budget.spend(tokens, trio.current_time()):
            raise DenialOfServiceError("too many frames that ask nothing")

    def send_data(self, stream_id: int, data: bytes | memoryview, *args: Any, **kwargs: Any) -> None:
        """Queue a part of an answer, for which the client may give credit again."""
        super().send_data(stream_id, data, *args, **kwargs)
        if len(data) >= SMALL_FRAME:
            self._budget.earn(FrameBudget.PER_FRAME_SENT)

    def _receive_frame(self, frame: Frame) -> list[h2.events.Event]:
        if isinstance(frame, DataFrame):
            asks_something = bool(frame.data) and self.is_open(frame.stream_id)
        else:
            asks_something = isinstance(frame, HeadersFrame)
        if not asks_something:
            self.spend(1)
        if isinstance(frame, GoAwayFrame) and not frame.error_code:
            # The client will open no stream and waits for those it has (RFC 9113, section 6.8), which
            # the library would cut off.
            return []
        try:
            return super()._receive_frame(frame)
        except ProtocolError as fault:
            if not self._is_of_stream(frame, fault):
                raise
            self.reset_stream(frame.stream_id, ErrorCodes.PROTOCOL_ERROR)
            return [h2.events.StreamReset(stream_id=frame.stream_id)]

    def _is_of_stream(self, frame: Frame, fault: ProtocolError) -> bool:
        """Whether a malformed request is all that is wrong (RFC 9113, section 8.1.1)."""
        if isinstance(fault, InvalidBodyLengthError):
            return True
        # With a cause it is about decoding, and later heads could not be decoded either.
        is_head = isinstance(frame, HeadersFrame) and type(fault) is ProtocolError and fault.__cause__ is None
        return is_head and self.is_open(frame.stream_id)


class StreamHandle:
    """What an application finds as its connection: one stream of it.

    Attributes:
        transport: The connection under all of them.
        method: Of the request, as sent; Hypercorn would make it capitals.
    """

    def __init__(
        self, protocol: GuardedProtocol, stream_id: int, transport: StallTimeoutStream, method: str
    ) -> None:
        self._protocol = protocol
        self._stream_id = stream_id
        self.transport = transport
        self.method = method

    @property
    def stalled(self) -> bool:
        """Whether the connection ended because its client took nothing."""
        return self.transport.stalled

    def abort(self) -> None:
        """Reset the stream; its neighbours go on."""
        self._protocol.task_group.spawn(self._protocol.reset, self._stream_id, ErrorCodes.CANCEL)

    async def send_continue(self) -> None:
        """Ask for the body of a request with `Expect: 100-continue`."""
        await self._protocol.send_continue(self._stream_id)


class GuardedProtocol(H2Protocol):
    """One connection.

    Attributes:
        head_deadline: When what has begun of a head has to be here; infinity if nothing has.
    """

    connection: BoundedConnection

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        vars(self.connection).clear()
        self.connection = BoundedConnection(self.config.h2_max_concurrent_streams)
        self.priority = RoundRobin()  # type: ignore[assignment]  # has of the tree what is used of it
        self.head_deadline = trio.current_time() + HEAD_S
        self._transport: StallTimeoutStream = self.connection_state[CONNECTION]
        self._body_bytes: dict[int, int] = {}

    async def handle(self, event: Event) -> None:
        """Take bytes, or the end."""
        if not isinstance(event, RawData):
            await super().handle(event)
            return
        for at in range(0, len(event.data), SLICE_BYTES):
            if at:
                await trio.lowlevel.checkpoint()
            if self.closed or not await self._receive(event.data[at : at + SLICE_BYTES]):
                return
        if not self.connection.incoming_buffer.is_in_head:
            self.head_deadline = math.inf
        elif self.head_deadline == math.inf:
            self.head_deadline = trio.current_time() + HEAD_S

    async def _receive(self, data: bytes) -> bool:
        """Act upon bytes; false if the connection has ended."""
        try:
            for event in self.connection.receive_data(data):
                if self.closed:
                    return False
                await self._handle_one(event)
        except DenialOfServiceError as fault:
            await self.end(ErrorCodes.ENHANCE_YOUR_CALM, str(fault))
            return False
        except BROKEN as fault:
            await self.end(ErrorCodes.PROTOCOL_ERROR, str(fault))
            return False
        await self._flush()
        return True

    async def _handle_one(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.PriorityUpdated):
            return  # advice nobody has to take (RFC 9113, section 5.3.2), and state for each frame
        if isinstance(event, h2.events.RequestReceived):
            await self._begin(event)
        elif isinstance(event, h2.events.DataReceived):
            await self._take_body(event)
        else:
            if isinstance(event, h2.events.StreamReset) and self._is_unanswered(event.stream_id):
                self.connection.spend(FrameBudget.RESET)
            await self._handle_events([event])

    def _is_unanswered(self, stream_id: int) -> bool:
        stream = self.streams.get(stream_id)
        return stream is not None and stream.state is ASGIHTTPState.REQUEST

    async def _take_body(self, event: h2.events.DataReceived) -> None:
        stream_id = event.stream_id
        if stream_id not in self.streams:
            self._acknowledge(event)  # of a request that has been answered already
            return
        self._body_bytes[stream_id] = self._body_bytes.get(stream_id, 0) + len(event.data)
        if sum(self._body_bytes.values()) > BODY_BYTES:
            self._acknowledge(event)
            await self.reset(stream_id, ErrorCodes.REFUSED_STREAM)
        else:
            await self._handle_events([event])

    def _acknowledge(self, event: h2.events.DataReceived) -> None:
        try:
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        except H2Error:
            pass  # the stream is gone altogether

    async def _begin(self, event: h2.events.RequestReceived) -> None:
        stream_id = event.stream_id
        if not self.connection.is_open(stream_id):
            self.connection.spend(FrameBudget.RESET)
            return
        if len(self.streams) >= self.config.h2_max_concurrent_streams:
            self.connection.spend(1)
            self.connection.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        head = [(bytes(name), bytes(value)) for name, value in event.headers]
        refusal = head_refusal(head)
        if refusal is not None:
            self._refuse(stream_id, refusal)
            return
        handle = StreamHandle(self, stream_id, self._transport, dict(head)[b":method"].decode())
        self.connection_state = ConnectionState({**self.connection_state, CONNECTION: handle})
        await self._handle_events([event])

    def _refuse(self, stream_id: int, answer: Answer) -> None:
        """Answer a stream that never becomes a request."""
        answer = self.connection_state[FINALIZE](answer, {})
        headers = [(":status", str(answer.status)), ("content-length", str(len(answer.body)))]
        headers += [(name.lower(), value) for name, value in answer.headers]
        self.connection.send_headers(stream_id, headers)
        self.connection.send_data(stream_id, answer.body, end_stream=True)
        self._dismiss(stream_id)

    def _dismiss(self, stream_id: int) -> None:
        """Ask for no more of a request that has been answered (RFC 9113, section 8.1)."""
        if self.connection.is_open(stream_id):
            self.connection.reset_stream(stream_id, ErrorCodes.NO_ERROR)

    async def send_continue(self, stream_id: int) -> None:
        """Answer 100 to a request whose body is awaited."""
        if self.connection.is_open(stream_id):
            self.connection.send_headers(stream_id, [(":status", "100")])
            await self._flush()

    async def reset(self, stream_id: int, code: ErrorCodes) -> None:
        """End one stream; nothing happens if it has ended."""
        if not self.connection.is_open(stream_id):
            return
        self.connection.reset_stream(stream_id, code)
        await self._flush()
        buffer = self.stream_buffers.get(stream_id)
        if buffer is not None:
            await buffer.close()
        await self._close_stream(stream_id)
        await self._window_updated(stream_id)  # has the sending task forget the buffer

    async def _close_stream(self, stream_id: int) -> None:
        self._body_bytes.pop(stream_id, None)
        await super()._close_stream(stream_id)

    async def end(self, code: ErrorCodes, reason: str) -> None:
        """Tell the client why, and end the connection."""
        logger.debug("http2_ended", extra={"code": code.name, "reason": reason})
        try:
            self.connection.close_connection(code, reason.encode())
        except H2Error:
            pass  # the library has said so itself
        await self._flush()
        await self.send(Closed())

    async def _send_data(self, stream_id: int) -> None:
        if stream_id not in self.stream_buffers:
            return
        try:
            await super()._send_data(stream_id)
        except KeyError:
            return  # reset while its bytes were on their way
        if stream_id not in self.stream_buffers:
            self._dismiss(stream_id)
            await self._flush()


class Http2Server(TCPServer):
    """Hypercorn's server of one connection, which speaks HTTP/2 from the first byte to the last.

    Hypercorn itself would begin with HTTP/1.1 in clear, and leave behind what a client that has gone
    did not wait for.
    """

    protocol: GuardedProtocol  # type: ignore[assignment]  # a wrapper of two protocols there

    async def run(self) -> None:
        """Serve until either side ends the connection."""
        is_tls = isinstance(self.stream, trio.SSLStream)
        socket = self.state[CONNECTION].socket
        try:
            client, server = (
                parse_socket_addr(socket.family, name)
                for name in (socket.getpeername(), socket.getsockname())
            )
            async with TaskGroup() as group:
                self._task_group = group
                state = ConnectionState(self.state)
                self.protocol = GuardedProtocol(
                    self.app,
                    self.config,
                    self.context,
                    group,
                    state,
                    is_tls,
                    client,
                    server,
                    self.protocol_send,
                )
                await self.protocol.initiate()
                await self.idle_task.restart(group, self._idle_timeout)
                await self._read_data()
                nursery = group._nursery  # noqa: SLF001  # there is no other way in
                if nursery is not None:  # nobody hears any more what is under way
                    nursery.cancel_scope.cancel()
        except OSError:
            pass
        finally:
            await self._close()
            self._release()

    def _release(self) -> None:
        """Break the reference cycles of what has ended: its memory should not wait for the collector."""
        protocol = getattr(self, "protocol", None)
        if protocol is not None:
            vars(protocol.connection).clear()
            vars(protocol).clear()
        vars(self).clear()

    async def _read_data(self) -> None:
        protocol, data = self.protocol, b"-"
        while data:
            with trio.move_on_at(protocol.head_deadline) as scope:
                try:
                    data = bytes(await self.stream.receive_some(RECEIVE_BYTES))
                except (trio.ClosedResourceError, trio.BrokenResourceError):
                    break
            if scope.cancelled_caught:
                await protocol.end(ErrorCodes.ENHANCE_YOUR_CALM, LATE)
                break
            await protocol.handle(RawData(data))
        await protocol.handle(Closed())

    async def _initiate_server_close(self) -> None:
        await self.protocol.end(ErrorCodes.NO_ERROR, "idle")
