"""One connected client: frames in, frames out, its topics in between.

The session knows no transport, no task and no clock: frames and the time are
handed in, and nothing in it waits. What takes time (a match deciding about a
join) is started by a topic's opener and answered through the seat later, so a
heartbeat is answered at once whatever else is under way.

    heartbeat                       ok, at once
    join, topic of nobody           error, unmatched topic
    join, 100 topics already        error, too many channels joined
    join, opener crashes            error, join crashed
    join, topic joined already      the old seat is closed, then a normal join
    leave, topic not joined         ok
    leave                           ok, then the channel's close
    anything, stale join_ref        nothing
    anything, topic not joined      error, unmatched topic
    anything else                   to the channel; its crash is phx_error
    a frame that means nothing      the socket is closed, 1003 or 1007
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from web.channels.broadcast import Broadcast
from web.channels.identity import User
from web.channels.messages import (
    HEARTBEAT,
    JOIN,
    LEAVE,
    PHOENIX,
    BadFrame,
    CloseCode,
    Message,
    Payload,
    Ref,
    Reply,
)
from web.channels.seat import Seat
from web.channels.serializer import Serializer
from web.channels.topics import Left, Topics
from web.channels.transport import Cut, End, Transport

__all__ = ["IDLE_S", "JOIN_TIMEOUT_S", "MAX_TOPICS", "Session"]

logger = logging.getLogger(__name__)

MAX_TOPICS: Final = 100
# Twice the client's heartbeat.
IDLE_S: Final = 60.0
# The client gives up on its join after 10 s and asks again.
JOIN_TIMEOUT_S: Final = 10.0


class Session:
    """A client and its topics.

    Args:
        user: Who connected.
        serializer: The version it speaks.
        transport: Where its frames go.
        topics: Who decides about joins.
        now: The time, in seconds of any clock that only goes forward.
        max_topics: How many topics it may be on.
        on_end: Called once, when the transport has ended.

    Attributes:
        user: As given.
        ended: Whether the socket is closed or closing.
        ended_for: What ended it, or is about to; None while nothing does.
        heard_at: When the client last said anything.
    """

    __slots__ = (
        "_max_topics",
        "_on_end",
        "_seats",
        "_serializer",
        "_topics",
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
        topics: Topics,
        now: float,
        max_topics: int = MAX_TOPICS,
        on_end: Callable[[Session], None] | None = None,
    ) -> None:
        self.user = user
        self.ended = False
        self.ended_for: End | None = None
        self.heard_at = now
        self._serializer = serializer
        self._transport = transport
        self._topics = topics
        self._max_topics = max_topics
        self._on_end = on_end
        self._seats: dict[str, Seat] = {}
        self._waiting: dict[Seat, Callable[[], None]] | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """What it has joined or is joining."""
        return tuple(self._seats)

    @property
    def congested(self) -> bool:
        """Whether frames wait to be written."""
        return self._transport.congested

    # -- what the transport's owner calls --------------------------------------------

    def receive(self, data: str | bytes, now: float) -> None:
        """Handle one message of the client: text as `str`, binary as `bytes`."""
        if self.ended:
            return
        self.heard_at = now
        try:
            message = self._serializer.decode(data)
        except BadFrame as bad:
            self.close(bad.code, bad.reason)
            return
        self._dispatch(message)

    def heard(self, now: float) -> None:
        """Note that the client is alive: it said something that is no message, such as a ping."""
        self.heard_at = now

    def tick(self, now: float) -> None:
        """Close a silent socket, and answer joins nobody has answered.

        To be called every few seconds, until `closed`.
        """
        self._transport.tick(now)
        if self.ended:
            return
        if now - self.heard_at >= IDLE_S:
            self.close(CloseCode.GOING_AWAY, "idle", End.IDLE)
            return
        for seat in tuple(self._seats.values()):
            if seat.joining and now - seat.asked_at >= JOIN_TIMEOUT_S:
                seat.refuse({"reason": "join timeout"})

    def writable(self) -> None:
        """The transport has caught up: let the states that waited go."""
        waiting, self._waiting = self._waiting, None
        for seat, work in (waiting or {}).items():
            if seat.joined and not self.guard(seat, work):
                seat.crash()

    def close(self, code: CloseCode, reason: str, why: End = End.PROTOCOL) -> None:
        """End the socket from this side; its channels hear it."""
        if not self.ended:
            self._transport.close(code, reason)
            self.hang_up(why)

    def logout(self) -> None:
        """End the socket because its user has been logged out elsewhere. The client may come back."""
        self.close(CloseCode.GOING_AWAY, "logged out", End.LOGGED_OUT)

    def drain(self) -> None:
        """End the socket because this server is going. The client comes back, to another."""
        self.close(CloseCode.RESTART, "restarting", End.DRAINED)

    def closed(self) -> None:
        """The transport has ended, for whatever reason; the channels hear it if they have not."""
        self.hang_up()
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self)

    def cut(self, why: Cut, waiting_bytes: int) -> None:
        """The transport ends the connection by itself; `closed` follows."""
        logger.info("socket_cut", extra={"reason": why.value, "waiting_bytes": waiting_bytes})
        self._note_end(End(why.value))

    def hang_up(self, why: End = End.CLIENT_GONE) -> None:
        """The client has said goodbye, or been told so: its channels hear it, nothing more is handled."""
        self._note_end(why)
        self.ended = True
        self._waiting = None
        for seat in tuple(self._seats.values()):
            seat.end(Left.GONE)

    def _note_end(self, why: End) -> None:
        if self.ended_for is None:
            self.ended_for = why

    # -- what seats call -------------------------------------------------------------

    def push(self, join_ref: Ref, ref: Ref, topic: str, event: str, payload: Payload) -> None:
        """Write a push."""
        self._transport.send(self._serializer.push(join_ref, ref, topic, event, payload))

    def reply(self, reply: Reply) -> None:
        """Write an answer."""
        self._transport.send(self._serializer.reply(reply))

    def broadcast(self, broadcast: Broadcast) -> None:
        """Write a frame that others get too."""
        self._transport.send(broadcast.frame(self._serializer))

    def when_writable(self, seat: Seat, work: Callable[[], None]) -> None:
        """Run `work` when frames no longer wait, unless the seat ends first."""
        if self._waiting is None:
            self._waiting = {}
        self._waiting[seat] = work

    def guard(self, seat: Seat, work: Callable[[], None]) -> bool:
        """Run a channel's code; False if it crashed."""
        try:
            work()
        # The session is the supervisor of its channels: one that crashes must not
        # take the other topics of this client with it.
        except Exception:
            logger.exception("channel_crashed", extra={"topic": seat.topic})
            return False
        return True

    def forget(self, seat: Seat) -> None:
        """The seat has ended."""
        if self._seats.get(seat.topic) is seat:
            del self._seats[seat.topic]
        if self._waiting:
            self._waiting.pop(seat, None)

    # -- messages --------------------------------------------------------------------

    def _dispatch(self, message: Message) -> None:
        topic, event = message.topic, message.event
        if topic == PHOENIX and event == HEARTBEAT:
            self.reply(Reply(None, message.ref, PHOENIX, "ok", {}))
            return
        seat = self._seats.get(topic)
        if event == JOIN:
            self._join(seat, message)
        elif seat is None:
            self._unseated(message)
        elif message.join_ref is not None and message.join_ref != seat.join_ref:
            return  # meant for an earlier join, which has had its close
        elif event == LEAVE:
            seat.leave(message.ref)
        else:
            seat.receive(message)

    def _unseated(self, message: Message) -> None:
        if message.event == LEAVE:
            self.reply(Reply(message.join_ref, message.ref, message.topic, "ok", {}))
        else:
            self._unmatched(message)

    def _unmatched(self, message: Message) -> None:
        self.reply(Reply(None, message.ref, message.topic, "error", {"reason": "unmatched topic"}))

    def _join(self, old: Seat | None, message: Message) -> None:
        if old is not None:
            old.replace()
        opener = self._topics.find(message.topic)
        if opener is None:
            self._unmatched(message)
            return
        seat = Seat(self, message, self.heard_at)
        if len(self._seats) >= self._max_topics:
            seat.refuse({"reason": "too many channels joined"})
            return
        self._seats[message.topic] = seat
        if not self.guard(seat, lambda: opener(seat, message.payload)):
            seat.crash()
