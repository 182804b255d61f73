"""HTTP/2 as Hypercorn speaks it, made to bear what strangers send.

A stream's fault costs that stream: it is answered or reset, and its neighbours
go on. A connection's fault is told by GOAWAY and logged at debug; it is no
trace in the log. What a client leaves behind ends with its connection.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final

import h2.connection
import h2.events
import hypercorn.protocol
from h2.errors import ErrorCodes
from h2.exceptions import H2Error
from h2.settings import SettingCodes
from hpack.exceptions import HPACKError
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ConnectionState
from hyperframe.exceptions import HyperframeError

from web.handlers.http import error
from web.server.stall_timeout import CONNECTION, StallTimeoutStream

if TYPE_CHECKING:
    from web.handlers.http import Answer

logger = logging.getLogger(__name__)

# What makes the library give up on a connection: its own errors, and those of bytes it did not expect.
BROKEN: Final = (H2Error, HPACKError, HyperframeError, LookupError, ValueError)
_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_PATH: Final = re.compile(rb"/[!-~]*|\*").fullmatch
MALFORMED: Final = error(400, "bad_request", "the method or the path is malformed")
TUNNEL: Final = error(501, "not_implemented", "this is no proxy")
# Streams a client may reset without having been answered on as many, before it is asked to leave.
MAX_RESETS: Final = 200


class UncountedConnection(h2.connection.H2Connection):
    """Ends no connection for one stream too many: `GuardedProtocol` refuses the stream."""

    @property
    def open_inbound_streams(self) -> int:
        """None, for the library's own check; looking forgets the streams that have closed."""
        _ = super().open_inbound_streams
        return 0


class StreamHandle:
    """What an application finds as its connection: one stream of it.

    Attributes:
        transport: The connection under all of them.
    """

    def __init__(self, protocol: GuardedProtocol, stream_id: int, transport: StallTimeoutStream) -> None:
        self._protocol = protocol
        self._stream_id = stream_id
        self.transport = transport

    @property
    def stalled(self) -> bool:
        """Whether the connection ended because its client took nothing."""
        return self.transport.stalled

    def abort(self) -> None:
        """Reset the stream; its neighbours go on."""
        self._protocol.task_group.spawn(self._protocol.reset, self._stream_id)


class GuardedProtocol(H2Protocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        guarded = UncountedConnection(config=self.connection.config)
        guarded.DEFAULT_MAX_INBOUND_FRAME_SIZE = self.connection.DEFAULT_MAX_INBOUND_FRAME_SIZE
        guarded.local_settings = self.connection.local_settings
        # WebSockets open in HTTP/1.1, where one piece of code speaks them.
        del guarded.local_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL]
        self.connection = guarded
        self._resets = 0

    async def handle(self, event: Event) -> None:
        """Take bytes, or the end."""
        if not isinstance(event, RawData):
            await super().handle(event)
            return
        try:
            events = self.connection.receive_data(event.data)
        except BROKEN as fault:
            logger.debug("http2_refused", extra={"reason": str(fault)})
            await self._end(ErrorCodes.PROTOCOL_ERROR)
            return
        for each in events:
            if self.closed:
                return
            await self._handle_one(each)
        await self._flush()

    async def _handle_one(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.PriorityUpdated):
            return  # advice nobody has to take (RFC 9113, section 5.3.2), and state for each frame
        if isinstance(event, h2.events.RequestReceived):
            await self._begin(event)
        elif isinstance(event, h2.events.DataReceived) and event.stream_id not in self.streams:
            self._acknowledge(event)  # of a request that has been answered already
        elif isinstance(event, h2.events.StreamReset) and self._is_flood(event):
            await self._end(ErrorCodes.ENHANCE_YOUR_CALM)
        else:
            await self._handle_events([event])

    def _is_flood(self, event: h2.events.StreamReset) -> bool:
        """Whether the client opens streams only to reset them."""
        self._resets += event.stream_id in self.streams
        return self._resets > MAX_RESETS + self.keep_alive_requests // 2

    def _acknowledge(self, event: h2.events.DataReceived) -> None:
        try:
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        except H2Error:
            pass  # the stream is gone altogether

    async def _begin(self, event: h2.events.RequestReceived) -> None:
        if len(self.streams) >= self.config.h2_max_concurrent_streams:
            self.connection.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        named = {bytes(name): bytes(value) for name, value in event.headers}
        refusal = _refusal(named)
        if refusal is None:
            transport = self.connection_state[CONNECTION]
            if isinstance(transport, StreamHandle):
                transport = transport.transport
            handle = StreamHandle(self, event.stream_id, transport)
            self.connection_state = ConnectionState({**self.connection_state, CONNECTION: handle})
            await self._handle_events([event])
        else:
            self._refuse(event.stream_id, refusal)

    def _refuse(self, stream_id: int, answer: Answer) -> None:
        """Answer a stream that never becomes a request."""
        headers = [(":status", str(answer.status)), ("content-length", str(len(answer.body)))]
        headers += [(name.lower(), value) for name, value in answer.headers]
        self.connection.send_headers(stream_id, headers)
        self.connection.send_data(stream_id, answer.body, end_stream=True)

    async def reset(self, stream_id: int) -> None:
        """End one stream, whose client takes nothing of it."""
        try:
            self.connection.reset_stream(stream_id, ErrorCodes.CANCEL)
        except H2Error:
            return  # it has ended
        await self._flush()
        buffer = self.stream_buffers.get(stream_id)
        if buffer is not None:
            await buffer.close()
        await self._close_stream(stream_id)

    async def _end(self, code: ErrorCodes) -> None:
        """Tell the client why, and end the connection."""
        try:
            self.connection.close_connection(code)
        except H2Error:
            pass  # the library has said so itself
        await self._flush()
        await self.send(Closed())

    async def _send_data(self, stream_id: int) -> None:
        if stream_id in self.stream_buffers:
            try:
                await super()._send_data(stream_id)
            except KeyError:
                pass  # reset while its bytes were on their way


def _refusal(named: dict[bytes, bytes]) -> Answer | None:
    method = named.get(b":method", b"")
    if method == b"CONNECT":
        return TUNNEL
    return None if _METHOD(method) and _PATH(named.get(b":path", b"")) else MALFORMED


class Http2Server(TCPServer):
    """Hypercorn's loop over one connection, which ends when the connection does."""

    async def _read_data(self) -> None:
        """Read to the end, then cancel what the client has left behind: nobody hears it any more."""
        await super()._read_data()
        nursery = self._task_group._nursery  # noqa: SLF001  # there is no other way in
        if nursery is not None:
            nursery.cancel_scope.cancel()


def install() -> None:
    """Have Hypercorn use it. It takes the class from its own module and leaves no other way in."""
    hypercorn.protocol.H2Protocol = GuardedProtocol  # type: ignore[attr-defined]
