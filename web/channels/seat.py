r"""One socket's place on one topic, from the join to its end.

    joining --accept--> joined --close, crash, leave, rejoin, socket gone--> ended
       \--refuse, or any of those--------------------------------------------/

Whatever reaches a seat after its end does nothing: a match may well answer a
client that has just gone.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

from web.channels.broadcast import Broadcast
from web.channels.identity import User
from web.channels.messages import CLOSE, ERROR, Message, Payload, Ref, Reply, Status
from web.channels.topics import Channel, Left

__all__ = ["Owner", "Push", "Seat"]

# A client sends nothing before it has the answer to its join; a program in a hurry may.
MAX_BACKLOG: Final = 32


class Owner(Protocol):
    """What a seat needs of its session."""

    @property
    def user(self) -> User:
        """Who sits here."""

    @property
    def congested(self) -> bool:
        """Whether frames are waiting to be written."""

    def push(self, join_ref: Ref, ref: Ref, topic: str, event: str, payload: Payload) -> None:
        """Write a push."""

    def reply(self, reply: Reply) -> None:
        """Write an answer."""

    def broadcast(self, broadcast: Broadcast) -> None:
        """Write a frame that others get too."""

    def guard(self, seat: Seat, work: Callable[[], None]) -> bool:
        """Run a channel's code; False if it crashed."""

    def forget(self, seat: Seat) -> None:
        """The seat has ended."""

    def when_writable(self, seat: Seat, work: Callable[[], None]) -> None:
        """Run `work` once frames no longer wait."""


class _State(Enum):
    JOINING = "joining"
    JOINED = "joined"
    ENDED = "ended"


class Seat:
    """A client on a topic.

    Attributes:
        topic: What it joined.
        join_ref: Names this join; later ones of the same client have others.
        asked_at: When it asked, in seconds of the session's clock.
    """

    __slots__ = ("_backlog", "_channel", "_join", "_owner", "_state", "asked_at", "join_ref", "topic")

    def __init__(self, owner: Owner, join: Message, asked_at: float) -> None:
        self._owner = owner
        self._join: tuple[Ref, Ref] = (join.join_ref, join.ref)
        self._state = _State.JOINING
        self._channel: Channel | None = None
        self._backlog: list[Message] | None = None
        self.topic = join.topic
        # Version 1 knows no join_ref; the ref of the join names it as well.
        self.join_ref = join.ref if join.join_ref is None else join.join_ref
        self.asked_at = asked_at

    @property
    def user(self) -> User:
        """Who sits here."""
        return self._owner.user

    @property
    def joined(self) -> bool:
        """Whether it has been accepted and has not ended."""
        return self._state is _State.JOINED

    @property
    def joining(self) -> bool:
        """Whether nobody has decided yet."""
        return self._state is _State.JOINING

    @property
    def congested(self) -> bool:
        """Whether frames wait to be written to this client."""
        return self._owner.congested

    # -- the answer to the join ------------------------------------------------------

    def accept(self, channel: Channel, response: Payload) -> bool:
        """Let the client in; the answer goes before anything the channel pushes.

        False when it has gone meanwhile, or has had its answer; the channel then hears nothing.
        """
        if not self.joining:
            return False
        self._owner.reply(Reply(*self._join, self.topic, "ok", response))
        self._state = _State.JOINED
        self._channel = channel
        if not self._owner.guard(self, channel.joined):
            self.crash()
        backlog, self._backlog = self._backlog, None
        for message in backlog or ():
            self.receive(message)
        return True

    def refuse(self, response: Payload, *, final: bool = False) -> None:
        """Turn the client away.

        Args:
            response: Told to the client, usually `{"reason": …}`.
            final: Close the channel as well; otherwise the client tries again for ever.
        """
        if not self.joining:
            return
        self._owner.reply(Reply(*self._join, self.topic, "error", response))
        if final:
            self.close()
        else:
            self.end(Left.CLOSED)

    # -- talking to the client -------------------------------------------------------

    def push(self, event: str, payload: Payload) -> bool:
        """Say something to this client; False if it is not (or no longer) on the topic."""
        if self._state is not _State.JOINED:
            return False
        self._owner.push(self.join_ref, None, self.topic, event, payload)
        return True

    def send(self, broadcast: Broadcast) -> bool:
        """Say to this client what others hear as well; False if it is not on the topic."""
        if self._state is not _State.JOINED:
            return False
        self._owner.broadcast(broadcast)
        return True

    def when_writable(self, work: Callable[[], None]) -> None:
        """Run `work` once this client's frames no longer wait; the last call counts."""
        if self._state is _State.JOINED:
            self._owner.when_writable(self, work)

    def close(self) -> None:
        """End it in good order: the client forgets the channel and does not join again."""
        self._part(CLOSE, {}, Left.CLOSED)

    def crash(self) -> None:
        """End it as broken: the client joins again after a second or more."""
        if self.joining:
            self.refuse({"reason": "join crashed"})
        else:
            self._part(ERROR, {"reason": "channel_crash"}, Left.CRASHED)

    # -- what the session does with it -----------------------------------------------

    def receive(self, message: Message) -> None:
        """Hand a message of the client to the channel, or keep it until there is one."""
        channel = self._channel
        if channel is not None:
            push = Push(self, message)
            if not self._owner.guard(self, lambda: channel.receive(push)):
                self.crash()
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
        """Answer the client's leave: first ok, then the close."""
        self.answer(ref, "ok", {})
        self._part(CLOSE, {}, Left.LEFT)

    def replace(self) -> None:
        """Make room for the next join of the same topic."""
        self._part(CLOSE, {}, Left.REJOINED)

    def answer(self, ref: Ref, status: Status, response: Payload) -> None:
        """Reply to one message, unless the seat has ended."""
        if self._state is not _State.ENDED:
            self._owner.reply(Reply(self.join_ref, ref, self.topic, status, response))

    def end(self, why: Left) -> None:
        """End without a word to the client. Does nothing the second time."""
        if self._state is _State.ENDED:
            return
        self._state = _State.ENDED
        self._owner.forget(self)
        channel, self._channel, self._backlog = self._channel, None, None
        if channel is not None:
            self._owner.guard(self, lambda: channel.left(why))

    def _part(self, event: str, payload: Payload, why: Left) -> None:
        if self._state is not _State.ENDED:
            self._owner.push(self.join_ref, self.join_ref, self.topic, event, payload)
            self.end(why)


class Push:
    """One message of a client, to be answered at most once.

    Attributes:
        seat: Where it was said.
        event: What was said.
        payload: Any JSON value, or bytes from a binary frame. Not checked.
    """

    __slots__ = ("_answered", "_ref", "event", "payload", "seat")

    def __init__(self, seat: Seat, message: Message) -> None:
        self.seat = seat
        self.event = message.event
        self.payload = message.payload
        self._ref = message.ref
        self._answered = False

    def reply(self, status: Status, response: Payload) -> None:
        """Answer it. A second answer, or one after the client has left, goes nowhere."""
        if not self._answered:
            self._answered = True
            self.seat.answer(self._ref, status, response)
