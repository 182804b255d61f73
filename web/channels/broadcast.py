"""One event for many sockets, encoded once per protocol version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from web.channels.frames import Frame
    from web.channels.messages import Payload
    from web.channels.serializer import Serializer

__all__ = ["Broadcast", "Listener", "broadcast"]


class Broadcast:
    """An event on a topic, before it is known who will hear it.

    Attributes:
        topic: Where it is said.
        event: What is said.
        payload: Read on the first use of a version; not to be changed afterwards.
    """

    __slots__ = ("_frames", "event", "payload", "topic")

    def __init__(self, topic: str, event: str, payload: Payload) -> None:
        self.topic = topic
        self.event = event
        self.payload = payload
        self._frames: dict[Serializer, Frame] = {}

    def frame(self, serializer: Serializer) -> Frame:
        """The frame for sockets of one version; made for the first of them.

        Raises:
            TypeError: The payload cannot be written in that version.
        """
        frame = self._frames.get(serializer)
        if frame is None:
            frame = serializer.broadcast(self.topic, self.event, self.payload)
            self._frames[serializer] = frame
        return frame


class Listener(Protocol):
    """Whoever takes broadcasts; never waits, never raises for a client's sake."""

    def send(self, broadcast: Broadcast) -> bool:
        """Hand it to the client; False when the client has gone."""


def broadcast(listeners: Iterable[Listener], topic: str, event: str, payload: Payload) -> None:
    """Say one thing to many, encoding it once."""
    message = Broadcast(topic, event, payload)
    # A listener that overflows while it is told may leave the very collection we walk.
    for listener in tuple(listeners):
        listener.send(message)
