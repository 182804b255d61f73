"""One frame on its way to clients, encoded once however many read it."""

from __future__ import annotations

from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

__all__ = ["Frame"]


class Frame:
    """A finished frame: the bytes of a text or binary message.

    A broadcast makes one `Frame` and hands the same object to every socket, so
    both the JSON and the bytes on the wire are made once for the whole topic.

    Attributes:
        data: The message. UTF-8 when it is text.
        is_text: Text message (True) or binary message (False).
    """

    __slots__ = ("_websocket", "data", "is_text")

    def __init__(self, data: bytes, *, is_text: bool) -> None:
        self.data = data
        self.is_text = is_text
        self._websocket: bytes | None = None

    @property
    def text(self) -> str:
        """The message as text, for transports that carry strings."""
        return self.data.decode()

    @property
    def websocket(self) -> bytes:
        """The message as one unmasked WebSocket frame (RFC 6455, section 5.2)."""
        if self._websocket is None:
            opcode = Opcode.TEXT if self.is_text else Opcode.BINARY
            self._websocket = WebSocketFrame(opcode, self.data).serialize(mask=False)
        return self._websocket

    def __repr__(self) -> str:
        return f"Frame({self.data!r}, is_text={self.is_text})"
