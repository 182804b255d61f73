"""The session of one connected client: decodes its frames and dispatches them to its channels.

The session has no task and no clock: frames and the time are handed in, and
nothing in it waits. What takes time (a match deciding about a join) is started by
a join handler and answered through the channel socket later, so a heartbeat is
answered at once whatever else is under way.

    heartbeat                       ok, at once
    join, no route for the topic    error, unmatched topic
    join, 100 topics already        error, too many channels joined
    join, its handler crashes       error, join crashed
    join, topic joined already      the old channel is closed, then a normal join
    leave, topic not joined         ok
    leave                           ok, then the channel's close
    anything, stale join_ref        nothing
    anything, topic not joined      error, unmatched topic
    anything else                   to the channel; its crash is phx_error
    text that is not Unicode        error, invalid_text
    a frame that cannot be decoded  the socket is closed, 1003 or 1007
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from web.channels.broadcast import Broadcast
from web.channels.channel import ChannelSocket, LeaveReason
from web.channels.identity import User
from web.channels.messages import (
    HEARTBEAT,
    JOIN,
    LEAVE,
    PHOENIX,
    BadFrame,
    BadPush,
    CloseCode,
    Message,
    Payload,
    Ref,
    Reply,
)
from web.channels.router import ChannelRouter
from web.channels.serializer import Serializer
from web.channels.transport import AbortReason, EndReason, Transport

__all__ = ["IDLE_S", "JOIN_TIMEOUT_S", "MAX_TOPICS", "Session"]

logger = logging.getLogger(__name__)

MAX_TOPICS: Final = 100
# Twice the client's heartbeat.
IDLE_S: Final = 60.0
# The client gives up on its join after 10 s and asks again.
JOIN_TIMEOUT_S: Final = 10.0


class Session:
    """A connected client and its channels.

    Args:
        user: Who connected.
        serializer: The version of the protocol it speaks.
        transport: Where its frames go.
        router: Finds the join handler of a topic.
        now: The time, in seconds of any clock that only goes forward.
        max_topics: How many topics it may be on.
        on_end: Called once, when the transport has ended.

    Attributes:
        user: As given.
        ended: Whether the socket is closed or closing.
        ended_for: What ended it, or is ending it; None before.
        heard_at: When the client last sent anything.
    """

    __slots__ = (
        "_channels",
        "_max_topics",
        "_on_end",
        "_router",
        "_serializer",
        "_transport",
        "_waiting",
        "ended",
        "ended_for",
        "heard_at",
        "user",
    )

    def __init__(
        self,
        user: User,
        *,
        serializer: Serializer,
        transport: Transport,
        router: ChannelRouter,
        now: float,
        max_topics: int = MAX_TOPICS,
        on_end: Callable[[Session], None] | None = None,
    ) -> None:
        self.user = user
        self.ended = False
        self.ended_for: EndReason | None = None
        self.heard_at = now
        self._serializer = serializer
        self._transport = transport
        self._router = router
        self._max_topics = max_topics
        self._on_end = on_end
        self._channels: dict[str, ChannelSocket] = {}
        self._waiting: dict[ChannelSocket, Callable[[], None]] | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """What it has joined or is joining."""
        return tuple(self._channels)

    @property
    def is_backpressured(self) -> bool:
        """Whether frames wait to be written."""
        return self._transport.is_backpressured

    # -- what the transport's owner calls --------------------------------------------

    def receive(self, data: str | bytes, now: float) -> None:
        """Handle one message of the client: text as `str`, binary as `bytes`."""
        if self.ended:
            return
        self.heard_at = now
        try:
            message = self._serializer.decode(data)
        except BadPush as bad:
            join_ref, ref, topic, *_ = bad.message
            self.reply(Reply(join_ref, ref, topic, "error", {"reason": "invalid_text"}))
            return
        except BadFrame as bad:
            self.close(bad.code, bad.reason)
            return
        self._dispatch(message)

    def heard(self, now: float) -> None:
        """Note that the client is alive: it sent something that is no message, such as a ping."""
        self.heard_at = now

    def tick(self, now: float) -> None:
        """Close a silent socket, and answer joins nobody has answered.

        To be called every few seconds, until `closed`.
        """
        self._transport.tick(now)
        if self.ended:
            return
        if now - self.heard_at >= IDLE_S:
            self.close(CloseCode.GOING_AWAY, "idle", EndReason.IDLE)
            return
        for socket in tuple(self._channels.values()):
            if socket.joining and now - socket.asked_at >= JOIN_TIMEOUT_S:
                socket.refuse({"reason": "join timeout"})

    def writable(self) -> None:
        """No frames wait any more: run what was deferred with `when_writable`."""
        waiting, self._waiting = self._waiting, None
        for socket, work in (waiting or {}).items():
            if socket.joined:
                socket.run(work)

    def close(self, code: CloseCode, reason: str, why: EndReason = EndReason.PROTOCOL) -> None:
        """Close the socket and end its channels."""
        if not self.ended:
            self._transport.close(code, reason)
            self.hang_up(why)

    def logout(self) -> None:
        """Close the socket with 1001: its user has been logged out. The client may connect again."""
        self.close(CloseCode.GOING_AWAY, "logged out", EndReason.LOGGED_OUT)

    def drain(self) -> None:
        """Close the socket with 1012: this server is stopping. The client connects again."""
        self.close(CloseCode.RESTART, "restarting", EndReason.DRAINED)

    def abort(self) -> None:
        """End the connection now, without waiting for the client to answer our close."""
        self.hang_up(EndReason.DRAINED)
        self._transport.abort()

    def closed(self) -> None:
        """The transport has ended: end the channels and the session, if that has not happened."""
        self.hang_up()
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self)

    def aborted(self, why: AbortReason, waiting_bytes: int) -> None:
        """The transport is ending the connection by itself; `closed` follows."""
        logger.info("socket_cut", extra={"reason": why.value, "waiting_bytes": waiting_bytes})
        self._note_end(EndReason(why.value))

    def hang_up(self, why: EndReason = EndReason.CLIENT_GONE) -> None:
        """End the channels and ignore what still comes, while the transport closes."""
        self._note_end(why)
        self.ended = True
        self._waiting = None
        for socket in tuple(self._channels.values()):
            socket.end(LeaveReason.GONE)

    def _note_end(self, why: EndReason) -> None:
        if self.ended_for is None:
            self.ended_for = why

    # -- for channel sockets (`ChannelOwner`) -------------------------------------------

    def push(self, join_ref: Ref, ref: Ref, topic: str, event: str, payload: Payload) -> None:
        """Write a push."""
        self._transport.send(self._serializer.push(join_ref, ref, topic, event, payload))

    def reply(self, reply: Reply) -> None:
        """Write a reply."""
        self._transport.send(self._serializer.reply(reply))

    def broadcast(self, broadcast: Broadcast) -> None:
        """Write a frame that other clients get too."""
        self._transport.send(broadcast.frame(self._serializer))

    def when_writable(self, socket: ChannelSocket, work: Callable[[], None]) -> None:
        """Run `work` when frames no longer wait, unless the socket ends first."""
        if self._waiting is None:
            self._waiting = {}
        self._waiting[socket] = work

    def forget(self, socket: ChannelSocket) -> None:
        """The channel socket has ended."""
        if self._channels.get(socket.topic) is socket:
            del self._channels[socket.topic]
        if self._waiting:
            self._waiting.pop(socket, None)

    # -- messages --------------------------------------------------------------------

    def _dispatch(self, message: Message) -> None:
        topic, event = message.topic, message.event
        if topic == PHOENIX and event == HEARTBEAT:
            self.reply(Reply(None, message.ref, PHOENIX, "ok", {}))
            return
        socket = self._channels.get(topic)
        if event == JOIN:
            self._join(socket, message)
        elif socket is None:
            self._not_joined(message)
        elif message.join_ref is not None and message.join_ref != socket.join_ref:
            return  # meant for an earlier join, which has had its close
        elif event == LEAVE:
            socket.leave(message.ref)
        else:
            socket.receive(message)

    def _not_joined(self, message: Message) -> None:
        if message.event == LEAVE:
            self.reply(Reply(message.join_ref, message.ref, message.topic, "ok", {}))
        else:
            self._unmatched(message)

    def _unmatched(self, message: Message) -> None:
        self.reply(Reply(None, message.ref, message.topic, "error", {"reason": "unmatched topic"}))

    def _join(self, old: ChannelSocket | None, message: Message) -> None:
        if old is not None:
            old.replace()
        join = self._router.find(message.topic)
        if join is None:
            self._unmatched(message)
            return
        socket = ChannelSocket(self, message, self.heard_at)
        if len(self._channels) >= self._max_topics:
            socket.refuse({"reason": "too many channels joined"})
            return
        self._channels[message.topic] = socket
        socket.run(lambda: join(socket, message.payload))
