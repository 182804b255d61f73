"""WebSockets over HTTP/2 (RFC 8441), within the limits of those over HTTP/1.1.

Hypercorn's own class agrees to permessage-deflate, which inflates one small frame
to any size, keeps what comes after a message that is too long, and ends a
connection with a trace where a handshake holds odd bytes. This one agrees to no
extension, and a client that breaks the protocol gets the close frame and nothing
more of it is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypercorn.protocol import h2
from hypercorn.protocol.events import Body, Data, EndBody, EndData, Request, Response
from hypercorn.protocol.ws_stream import ASGIWebsocketState, FrameTooLargeError, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason

if TYPE_CHECKING:
    from hypercorn.protocol.events import Event
    from hypercorn.typing import ASGISendEvent

BAD_REQUEST = 400


class BoundedWebSocketStream(WSStream):
    """One WebSocket on one HTTP/2 stream; keeps at most one message of `websocket_max_message_size`."""

    _failed = False

    async def handle(self, event: Event) -> None:
        """Take what has come on the stream."""
        if isinstance(event, Request):
            try:
                await super().handle(event)
            # What should be ASCII in a handshake is decoded without a look at it.
            except UnicodeDecodeError:
                await self._refuse()
        elif not isinstance(event, Body | Data) or (not self.closed and self._takes_data()):
            await super().handle(event)

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """Send what the application says; after a failure it is only let finish."""
        if message is None or not self._failed:
            await super().app_send(message)

    def _takes_data(self) -> bool:
        if not self.handshake.accepted:
            return True
        return not self._failed and self.connection.state is not ConnectionState.CLOSED

    async def _refuse(self) -> None:
        headers = [(b"content-length", b"0")]
        await self.send(Response(stream_id=self.stream_id, status_code=BAD_REQUEST, headers=headers))
        await self.send(EndBody(stream_id=self.stream_id))
        self.closed = True

    async def _accept(self, message: Any) -> None:
        self.handshake.extensions = None
        await super()._accept(message)

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, Message):
                if self.state is not ASGIWebsocketState.CLOSED and not await self._take(event):
                    return
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                await self._end(event)
                return

    async def _take(self, event: Message[Any]) -> bool:
        """Put a piece of a message to the others; False if it is too long."""
        try:
            self.buffer.extend(event)
        except FrameTooLargeError:
            await self._fail(CloseReason.MESSAGE_TOO_BIG, "message too big")
            return False
        if event.message_finished:
            await self._put(self.buffer.to_message())
            self.buffer.clear()
        return True

    async def _end(self, event: CloseConnection) -> None:
        """The client's close frame, or what its parser found wrong."""
        if self.connection.state is ConnectionState.OPEN:
            await self._fail(event.code, "")
            return
        if self.connection.state is ConnectionState.REMOTE_CLOSING:
            await self._send_wsproto_event(event.response())
            await self.send(EndData(stream_id=self.stream_id))
        self._failed = True
        self.state = ASGIWebsocketState.CLOSED
        await self._put({"type": "websocket.disconnect", "code": event.code})

    async def _fail(self, code: int, reason: str) -> None:
        self._failed = True
        self.state = ASGIWebsocketState.CLOSED
        self.buffer.clear()
        await self._send_wsproto_event(CloseConnection(code=code, reason=reason))
        await self.send(EndData(stream_id=self.stream_id))
        await self._put({"type": "websocket.disconnect", "code": code})

    async def _put(self, message: dict[str, Any]) -> None:
        if self.app_put is not None:
            await self.app_put(message)


def install() -> None:
    """Have Hypercorn use it for HTTP/2. It takes the class from its own module and leaves no other way in."""
    vars(h2)["WSStream"] = BoundedWebSocketStream
