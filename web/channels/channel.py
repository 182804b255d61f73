r"""A channel, and the channel socket: one client's membership of one topic, from join to end.

joining --accept--> joined --close, crash, leave, rejoin, socket gone--> ended
   \--refuse, or any of those--------------------------------------------/

joining  the client's messages wait (at most 32); pushes are dropped
joined   messages go to the channel, pushes to the client
ended    every method does nothing: a match may well answer a client that has just gone
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

from web.channels.broadcast import Broadcast
from web.channels.identity import User
from web.channels.messages import CLOSE, ERROR, Message, Payload, Ref, Reply, Status

__all__ = ["Channel", "ChannelOwner", "ChannelSocket", "LeaveReason", "Push"]

logger: Final = logging.getLogger(__name__)

# Clients send nothing before the answer to their join, but a program may.
MAX_BACKLOG: Final = 32


class LeaveReason(Enum):
    """Why a client is no longer on a topic."""

    LEFT = "left"  # it sent `phx_leave`
    REJOINED = "rejoined"  # it joined again; the next join is already under way
    GONE = "gone"  # its socket has ended
    CLOSED = "closed"  # the server closed the channel
    CRASHED = "crashed"  # the channel crashed; the client will join again


class Channel(Protocol):
    """The server's side of one joined topic of one socket.

    An exception out of any method is a crash of this channel alone: the client
    gets `phx_error` and joins again, its other topics go on.
    """

    def after_join(self) -> None:
        """The reply to the join has been sent; what is pushed from now on comes after it."""

    def handle_in(self, push: Push) -> None:
        """Handle a message of the client; answer with `push.reply` now, later or never."""

    def terminate(self, reason: LeaveReason) -> None:
        """The channel socket has ended. Called exactly once for every accepted join."""


class ChannelOwner(Protocol):
    """What a channel socket needs of its session."""

    @property
    def user(self) -> User:
        """Who is connected."""

    @property
    def is_backpressured(self) -> bool:
        """Whether frames are waiting to be written."""

    def push(self, join_ref: Ref, ref: Ref, topic: str, event: str, payload: Payload) -> None:
        """Write a push."""

    def reply(self, reply: Reply) -> None:
        """Write a reply."""

    def broadcast(self, broadcast: Broadcast) -> None:
        """Write a frame that other clients get too."""

    def forget(self, socket: ChannelSocket) -> None:
        """The channel socket has ended."""

    def when_writable(self, socket: ChannelSocket, work: Callable[[], None]) -> None:
        """Run `work` once no frames wait."""


class _State(Enum):
    JOINING = "joining"
    JOINED = "joined"
    ENDED = "ended"


# Python 3.11 takes 70 ns to find a member of an enum; what runs for every frame uses this.
_JOINED: Final = _State.JOINED


class ChannelSocket:
    """One client's membership of one topic; a channel uses it to talk to its client.

    Attributes:
        topic: The topic.
        join_ref: Names this join; later joins of the same client have others.
        asked_at: When the client asked to join, in seconds of the session's clock.
    """

    __slots__ = ("_backlog", "_channel", "_join", "_owner", "_state", "asked_at", "join_ref", "topic")

    def __init__(self, owner: ChannelOwner, join: Message, asked_at: float) -> None:
        self._owner = owner
        self._join: tuple[Ref, Ref] = (join.join_ref, join.ref)
        self._state = _State.JOINING
        self._channel: Channel | None = None
        self._backlog: list[Message] | None = None
        self.topic = join.topic
        # Version 1 has no join_ref; there the ref of the join takes its place.
        self.join_ref = join.ref if join.join_ref is None else join.join_ref
        self.asked_at = asked_at

    @property
    def user(self) -> User:
        """Who is connected."""
        return self._owner.user

    @property
    def joined(self) -> bool:
        """Whether the join has been accepted and the channel has not ended."""
        return self._state is _JOINED

    @property
    def joining(self) -> bool:
        """Whether the join is undecided."""
        return self._state is _State.JOINING

    @property
    def is_backpressured(self) -> bool:
        """Whether frames are waiting to be written to this client."""
        return self._owner.is_backpressured

    # -- the answer to the join ------------------------------------------------------

    def accept(self, channel: Channel, response: Payload) -> bool:
        """Accept the join; the reply is sent before anything the channel pushes.

        False when the client has gone or the join was answered already; `channel` is then
        never called.
        """
        if not self.joining:
            return False
        self._owner.reply(Reply(*self._join, self.topic, "ok", response))
        self._state = _JOINED
        self._channel = channel
        self.run(channel.after_join)
        backlog, self._backlog = self._backlog, None
        for message in backlog or ():
            self.receive(message)
        return True

    def refuse(self, response: Payload, *, final: bool = False) -> None:
        """Refuse the join.

        Args:
            response: Sent to the client, usually `{"reason": …}`.
            final: Also send `phx_close`; without it the client tries to join again for ever.
        """
        if not self.joining:
            return
        self._owner.reply(Reply(*self._join, self.topic, "error", response))
        if final:
            self.close()
        else:
            self.end(LeaveReason.CLOSED)

    def run(self, work: Callable[[], None]) -> None:
        """Run code of the channel, or of a join handler; if it crashes, so does the channel or the join."""
        if not self._guard(work):
            self.crash()

    def _guard(self, work: Callable[[], None]) -> bool:
        """Run the channel's code; False if it crashed."""
        try:
            work()
        # One channel that crashes must not take the other topics of its client with it.
        except Exception:
            logger.exception("channel_crashed", extra={"topic": self.topic})
            return False
        return True

    # -- talking to the client -------------------------------------------------------

    def push(self, event: str, payload: Payload) -> bool:
        """Send an event to this client; False if it is not (or no longer) on the topic."""
        if self._state is not _JOINED:
            return False
        self._owner.push(self.join_ref, None, self.topic, event, payload)
        return True

    def send(self, broadcast: Broadcast) -> bool:
        """Send an event that other clients get too; False if this client is not on the topic."""
        if self._state is not _JOINED:
            return False
        self._owner.broadcast(broadcast)
        return True

    def when_writable(self, work: Callable[[], None]) -> None:
        """Run `work` once no frames wait for this client; a later call replaces an earlier one."""
        if self._state is _JOINED:
            self._owner.when_writable(self, work)

    def close(self) -> None:
        """End the channel with `phx_close`: the client forgets it and does not join again."""
        self._end_with(CLOSE, {}, LeaveReason.CLOSED)

    def crash(self) -> None:
        """End the channel with `phx_error`: the client joins again after a second or more."""
        if self.joining:
            self.refuse({"reason": "join crashed"})
        else:
            self._end_with(ERROR, {"reason": "channel_crash"}, LeaveReason.CRASHED)

    # -- for the session -------------------------------------------------------------

    def receive(self, message: Message) -> None:
        """Hand a message of the client to the channel, or keep it until the join is decided."""
        channel = self._channel
        if channel is not None:
            push = Push(self, message)
            self.run(lambda: channel.handle_in(push))
            return
        if self._state is _State.ENDED:
            return
        if self._backlog is None:
            self._backlog = []
        if len(self._backlog) < MAX_BACKLOG:
            self._backlog.append(message)
        else:
            self.answer(message.ref, "error", {"reason": "join pending"})

    def leave(self, ref: Ref) -> None:
        """Answer the client's `phx_leave`: first the reply, then `phx_close`."""
        self.answer(ref, "ok", {})
        self._end_with(CLOSE, {}, LeaveReason.LEFT)

    def replace(self) -> None:
        """End the channel because its client joins the topic again."""
        self._end_with(CLOSE, {}, LeaveReason.REJOINED)

    def answer(self, ref: Ref, status: Status, response: Payload) -> None:
        """Reply to one message, unless the channel has ended."""
        if self._state is not _State.ENDED:
            self._owner.reply(Reply(self.join_ref, ref, self.topic, status, response))

    def end(self, reason: LeaveReason) -> None:
        """End the channel and send nothing. Does nothing the second time."""
        if self._state is _State.ENDED:
            return
        self._state = _State.ENDED
        self._owner.forget(self)
        channel, self._channel, self._backlog = self._channel, None, None
        if channel is not None:
            self._guard(lambda: channel.terminate(reason))

    def _end_with(self, event: str, payload: Payload, reason: LeaveReason) -> None:
        if self._state is not _State.ENDED:
            self._owner.push(self.join_ref, self.join_ref, self.topic, event, payload)
            self.end(reason)


class Push:
    """One message of a client, to be answered at most once.

    Attributes:
        socket: The channel socket it came on.
        event: Its event.
        payload: Any JSON value, or bytes from a binary frame. Not checked.
    """

    __slots__ = ("_answered", "_ref", "event", "payload", "socket")

    def __init__(self, socket: ChannelSocket, message: Message) -> None:
        self.socket = socket
        self.event = message.event
        self.payload = message.payload
        self._ref = message.ref
        self._answered = False

    def reply(self, status: Status, response: Payload) -> None:
        """Answer the message. A second answer, or one after the channel has ended, is dropped."""
        if not self._answered:
            self._answered = True
            self.socket.answer(self._ref, status, response)
